"""Progress of training: nothing, a bar on a terminal, a line an epoch, a table, curves."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from longspan.data import Batch, Batches
from longspan.training import History, LambdaCallback, progress, train


class Line(nn.Linear):
    def forward(self, batch: Batch, state: Any) -> tuple[Any, Any]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().forward(batch.x), state


def run(verbose: Any, epochs: int = 2, **options: Any) -> History:
    network = Line(1, 1)
    x = torch.rand(8, 1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    batches = options.pop("batches", Batches(x, x, batch_size=2))
    return train(
        network, batches, "mse", optimizer, epochs=epochs, metrics=["mae"], verbose=verbose, **options
    )


@pytest.mark.parametrize("verbose", [0, 1, "auto"])
def test_quiet_where_there_is_no_terminal(verbose: Any, capsys: pytest.CaptureFixture[str]):
    run(verbose)
    assert capsys.readouterr() == ("", "")


def test_a_line_an_epoch(capsys: pytest.CaptureFixture[str]):
    run(2, validate=lambda: {"loss": 0.125})
    lines = capsys.readouterr().out.splitlines()
    shape = r"Epoch {}/2 - 4 steps - \d+\.\d\d s - loss \S+  mae \S+  val_loss 0\.125"
    assert len(lines) == 2 and all(re.fullmatch(shape.format(n), line) for n, line in enumerate(lines, 1))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("known", [True, False])
def test_a_bar_on_a_terminal(known: bool, monkeypatch: pytest.MonkeyPatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_REDRAW_SECONDS", 0.0)
    x = torch.rand(8, 1)

    class Unknown:
        def __iter__(self) -> Any:
            return iter(Batches(x, x, batch_size=2))

    spy = LambdaCallback(on_epoch_end=lambda epoch, logs: spy.trainer.log(f"said {epoch}"))
    run(1, batches=Batches(x, x, batch_size=2) if known else Unknown(), callbacks=[spy])
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "epoch 1/2, step 2" + ("/4" if known else "") in text
    assert "epoch 2/2, step 4/4" in text and "mae" in text and "━" in text
    assert (
        re.search(r"Epoch 2/2 - 4 steps - \d+\.\d\d s - loss", text) and "said 0" in text and "said 1" in text
    )
    assert re.search(r"\d\d:\d\d", text), "no time left"


def test_the_bar_goes_away_when_training_fails(monkeypatch: pytest.MonkeyPatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(ZeroDivisionError):
        run(1, callbacks=[LambdaCallback(on_epoch_end=lambda epoch, logs: print(1 / 0))])
    assert screen.getvalue().rstrip("\n").endswith("\x1b[?25h") or "\x1b[?25h" in screen.getvalue()[-40:]


def test_history_as_a_table():
    history = History({"loss": [0.5, 0.25], "val_loss": [1.0, 2e-7]}, [0, 1], stopped="enough")
    assert repr(history).splitlines() == [
        "epoch  loss  val_loss",
        "    1   0.5         1",
        "    2  0.25     2e-07",
        "stopped: enough",
    ]
    assert repr(History()) == "epoch"
    long = History({"loss": [float(n) for n in range(1000)]}, list(range(1000)))
    assert len(repr(long).splitlines()) == 26 and "…" in repr(long)


def test_a_number_that_comes_late():
    history = History()
    history.add(0, {"loss": 1})
    history.add(1, {"loss": 2, "rate": 3})
    history.add(2, {"loss": 2, "rate": 4})
    history.add(3, {"loss": 1})
    assert history.history["rate"] == [3.0, 4.0] and history.epochs_of == {"rate": [1, 2]}
    rows = [line.split() for line in str(history).split("\n")]
    assert rows == [["epoch", "loss", "rate"], ["1", "1"], ["2", "2", "3"], ["3", "2", "4"], ["4", "1"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_history_plots(tmp_path: Path):
    pytest.importorskip("matplotlib", reason="needs matplotlib, which the plot extra installs")
    figure = History({"loss": [2, 1], "mae": [2, 1], "val_loss": [3, 2]}, [0, 1]).plot(
        tmp_path / "curves.png"
    )
    assert (tmp_path / "curves.png").read_bytes()[:4] == b"\x89PNG"
    lines = [[line.get_label() for line in axes.lines] for axes in figure.axes]
    assert lines == [["training", "validation"], ["training"]]


def test_history_without_matplotlib_or_epochs(monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(ValueError, match="history: expected at least one epoch, received none; train first"):
        History().plot()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    words = "plot: expected the package matplotlib, received none; run pip install 'longspan[plot]'."
    with pytest.raises(ImportError, match=re.escape(words)):
        History({"loss": [1.0]}, [0]).plot()
