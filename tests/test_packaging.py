"""The sdist and the wheel hold every file, and say what pyproject.toml and `longspan/__init__.py` say.

`make wheel` builds the whole wheel and tries it; here CMake is left out.
"""

from __future__ import annotations

import subprocess
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from importlib.metadata import entry_points
from pathlib import Path

import pytest

import longspan

backend = pytest.importorskip("scikit_build_core.build", reason="scikit-build-core is not installed")
PYTHON_ONLY = {"wheel.cmake": "false", "wheel.py-api": "py3", "wheel.platlib": "false"}
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of the Python files."""
    folder = tmp_path_factory.mktemp("wheel")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        name = backend.build_wheel(str(folder), PYTHON_ONLY)
    return zipfile.ZipFile(folder / name)


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    name = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
    return message_from_bytes(wheel.read(name))


def tracked(folder: str) -> set[str]:
    """The files of a folder that are in the project, without those that are new."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout of the project")
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def test_the_wheel_has_every_file_of_the_package(wheel: zipfile.ZipFile) -> None:
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert {"longspan/serve/page.html", "longspan/report/page.css", "longspan/py.typed"} <= packed
    assert tracked("longspan") <= packed
    assert all(name.startswith("longspan/") and "__pycache__" not in name for name in packed)


def test_the_version_stands_in_one_place(metadata: Message) -> None:
    assert metadata["Version"] == longspan.__version__
    others = [
        path
        for path in ("pyproject.toml", "CMakeLists.txt")
        if longspan.__version__ in (ROOT / path).read_text()
    ]
    assert not others, f"{others} repeat the version"


def test_the_core_needs_seven_packages(metadata: Message) -> None:
    needed = {line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert needed == {"torch>=2.6", "numpy", "polars", "narwhals", "safetensors", "rich", "click"}
    assert {"report", "serve", "demo"} <= {*metadata.get_all("Provides-Extra", [])}


def test_the_command_is_declared(wheel: zipfile.ZipFile) -> None:
    name = next(name for name in wheel.namelist() if name.endswith("entry_points.txt"))
    assert b"longspan = longspan.cli:main" in wheel.read(name)
    assert all(found.value == "longspan.cli:main" for found in entry_points(name="longspan"))


def test_the_sdist_has_what_a_build_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    archive = tmp_path / backend.build_sdist(str(tmp_path))
    with tarfile.open(archive) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "longspan/cells.py"} <= names
    assert tracked("csrc") | tracked("longspan") <= names
    assert not [name for name in names if name.startswith((".ci", ".venv", "build/", "dist/"))]
    assert archive.stat().st_size < 8_000_000
