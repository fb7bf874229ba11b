"""The runner of Keras' tests: imports, what is left out, and the table."""

from __future__ import annotations

from pathlib import Path

import pytest

from . import names
from .__main__ import HERE, read_reasons, reason_for, table


@pytest.mark.parametrize(
    ("line", "rewritten"),
    [
        ("from keras.src import layers", "from keras_names import layers"),
        (
            "    from keras.src.layers.rnn.lstm import LSTM",
            "    from keras_names.layers.rnn.lstm import LSTM",
        ),
        ("import keras", "import keras_names as keras"),
        ("from conftest import skip_if_backend", "from keras_names.conftest import skip_if_backend"),
        ("import tensorflow as tf", "from keras_names.outside import tensorflow as tf"),
        ("from tensorflow import data as d", "from keras_names.outside.tensorflow import data as d"),
        ("import numpy as np", "import numpy as np"),
        ("x = 'import keras'", "x = 'import keras'"),
    ],
)
def test_only_imports_are_rewritten(line: str, rewritten: str) -> None:
    assert names.rewrite(f"a = 1\n{line}\nb = 2") == f"a = 1\n{rewritten}\nb = 2"


def test_names_are_longspans_and_absent_ones_fail_in_use(tmp_path: Path) -> None:
    finder = names.Finder(tmp_path, tmp_path)
    module = finder.create_module(finder.find_spec("keras_names.layers.rnn.lstm"))
    import longspan.layers

    assert module.LSTM is longspan.layers.LSTM
    with pytest.raises(AttributeError, match=r"absent name: layers\.rnn\.lstm\.Nonsense"):
        list(module.Nonsense)


def test_every_test_that_is_left_out_has_a_reason() -> None:
    for name in ("not_applicable.txt", "failing.txt"):
        listed = read_reasons(HERE / name)
        assert listed and all(listed.values())
    reasons = read_reasons(HERE / "not_applicable.txt")
    assert reason_for("layers/rnn/lstm_test.py::LSTMTest::test_basics", reasons) is None
    assert reason_for("trainers/epoch_iterator_test.py::A::test_b", reasons) is not None


def test_table_counts_by_folder() -> None:
    outcomes = {"layers/rnn/a_test.py::A::test_a": "passed", "layers/rnn/a_test.py::A::test_b": "call: E"}
    outcomes |= {"losses/a_test.py::A::test_c": "skipped", "losses/a_test.py::A::test_d": "passed"}
    rows = [line.split() for line in table(outcomes, by_file=False).splitlines()]
    assert rows == [
        ["apply", "pass", "share"],
        ["layers/rnn", "2", "1", "50.0%"],
        ["losses", "1", "1", "100.0%"],
        ["all", "3", "2", "66.7%"],
    ]
