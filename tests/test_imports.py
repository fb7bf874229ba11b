"""What a new process has loaded after its first imports of longspan, all in one process."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

SCRIPT = """
import json, sys
from longspan.nn import attention
from longspan.models import Sequential
from_models = sorted(sys.modules)
import longspan
longspan.Classifier()
told = {"attention": attention.__name__, "from_models": from_models, "modules": sorted(sys.modules)}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told() -> dict[str, object]:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_module_of_longspan_nn_stands_before_torchs_of_its_name(told: dict[str, object]) -> None:
    assert told["attention"] == "longspan.nn.attention"


def test_models_import_no_reader_of_tables(told: dict[str, object]) -> None:
    modules = told["from_models"]
    assert isinstance(modules, list) and "longspan.models.sequential" in modules
    assert not {"polars", "narwhals"} & set(modules)


def test_a_task_imports_no_optional_package(told: dict[str, object]) -> None:
    modules = told["modules"]
    assert isinstance(modules, list) and "longspan.tasks.classify.classifier" in modules
    assert not {"sklearn", "keras", "pandas", "matplotlib"} & set(modules)


def test_a_server_of_tasks_imports_no_layers_and_no_optional_package() -> None:
    pytest.importorskip("fastapi", reason="fastapi is not installed")
    script = "import json, sys; from longspan import serve; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = set(json.loads(done.stdout))
    assert "longspan.serve.app" in modules
    assert (
        not {"longspan.layers", "longspan.models", "sklearn", "pandas", "matplotlib", "torch._dynamo"}
        & modules
    )
