"""Models saved by earlier versions load and give the predictions stored beside them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import longspan as ls
from longspan import tasks

pytestmark = pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")

HERE = Path(__file__).parent / "golden"
GOLDEN = runpy.run_path(str(HERE / "make.py"), run_name="make")["GOLDEN"]


def test_every_task_has_a_saved_model() -> None:
    assert set(GOLDEN) == set(tasks.TASKS) == {path.stem for path in HERE.glob("*.model")}


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_saved_model_gives_its_stored_predictions(name: str) -> None:
    _, ask = GOLDEN[name]
    answers: dict[str, list[Any]] = ask(ls.load(HERE / f"{name}.model"))
    saved: dict[str, list[Any]] = json.loads((HERE / f"{name}.json").read_text())
    assert answers.keys() == saved.keys()
    for part, values in saved.items():
        if isinstance(values[0], float):  # rtol: other processors round differently
            np.testing.assert_allclose(answers[part], values, rtol=1e-4, atol=1e-6, err_msg=part)
        else:
            assert answers[part] == values, part


@pytest.mark.parametrize("name", list(GOLDEN))
def test_a_saved_model_is_small(name: str) -> None:
    assert (HERE / f"{name}.model").stat().st_size < 60_000
