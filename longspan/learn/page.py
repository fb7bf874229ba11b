"""Assembles the page: its text, the cells' equations, drawings and curves, and the script that runs them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from longspan.cells import CELLS
from longspan.kernels.emit_javascript import PRELUDE, step_source

from . import charts, drawings, equations

_INSERT = re.compile(r"<!-- insert: (\w+) -->")
_MEANINGS = {
    "lstm": {
        "i": "input gate: how much of the candidate is written",
        "f": "forget gate: how much of the old cell state is kept",
        "g": "candidate: what might be written",
        "o": "output gate: how much of the cell state is shown",
        "c": "cell state: what is kept of the old one, and what is written",
        "h": "output: what is shown of the cell state, returned with it",
    },
    "gru": {
        "k": "reset gate r: how much of the old state the candidate reads",
        "z": "update gate: how much of the old state is kept",
        "n": "candidate: what might take its place",
        "h": "state: (1 − z) of the candidate and z of the old state",
    },
    "rnn": {"h": "state: written anew at every step"},
}


def title() -> str:
    """The heading of the page."""
    return "The LSTM explained"


@cache
def body() -> str:
    """The page's content as HTML, without a heading; it holds together without its script."""
    return _INSERT.sub(lambda mark: _inserts()[mark[1]](), _file("page.html"))


@cache
def script() -> str:
    """The page's JavaScript: the printed steps of the cells, the trained weights, and what drives them."""
    steps = "\n".join(step_source(CELLS[name]) for name in drawings.CELLS)
    letters = {name: {"gates": CELLS[name].gates, "states": CELLS[name].states} for name in drawings.CELLS}
    parts = [
        '"use strict";\n(() => {',
        PRELUDE,
        steps,
        f"const STEPS = {{ {', '.join(drawings.CELLS)} }};",
        f"const CELLS = {json.dumps(letters)};",
        f"const MODELS = {_file('models.json').strip()};",
        _file("learn.js"),
        "})();\n",
    ]
    return "\n".join(parts)


def style() -> str:
    """The page's CSS, all of it inside the class `learn`."""
    return _file("learn.css")


def _file(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


def _inserts() -> dict[str, Callable[[], str]]:
    """What stands in the place of each mark in `page.html`."""
    measured = json.loads(_file("measured.json"))
    made: dict[str, Callable[[], str]] = {
        "unrolled": drawings.unrolled,
        "gradients": lambda: charts.gradients(measured),
        "decay": lambda: _decay(measured),
        "errors": lambda: charts.errors(measured),
        "task": lambda: _task(measured),
        "closing": _closing,
        "bidirectional": drawings.bidirectional,
        "stacked": drawings.stacked,
        "dropout": drawings.dropout,
        "padding": drawings.padding,
        "truncated": drawings.truncated,
    }
    for name, draw in drawings.CELLS.items():
        made[f"{name}_drawing"] = lambda draw=draw: f"<div class='wide cell'>{draw()}</div>"
        made[f"{name}_equations"] = lambda name=name: equations.table(CELLS[name], _MEANINGS[name])
    return made


def _decay(measured: dict[str, Any]) -> str:
    """How small the gradients have become, in a sentence."""
    lag = 80

    def listed(when: str) -> str:
        norms = {charts.NAMES[cell]: curves[when][lag] for cell, curves in measured["gradients"].items()}
        return ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())

    return (
        f"{lag} steps back the gradient, as a share of that at the last step, is: {listed('before')} as the "
        f"networks begin; {listed('after')} after training."
    )


def _task(measured: dict[str, Any]) -> str:
    """How the adding problem was trained, and who solved the longest sequences."""
    longest = str(measured["lengths"][-1])
    solved = [
        f"{charts.NAMES[cell]} {median(errors[longest]):.4f}" for cell, errors in measured["errors"].items()
    ]
    return (
        f"Each network has {measured['units']} units and {measured['steps']:,} training steps of "
        f"{measured['batch']} sequences; curves are medians of {len(measured['seeds'])} seeds. "
        f"At {longest} steps: {', '.join(solved)}."
    )


def _closing() -> str:
    """How often each network of the page closes the right bracket."""
    text = json.loads(_file("models.json"))["text"]
    cells, later = text["cells"], text["rnn_later"]
    shares = [
        f"{charts.NAMES[cell]} {100 * cells[cell]['quality']['closing']:.0f} %"
        for cell in ("rnn", "gru", "lstm")
    ]
    return (
        f"{', '.join(shares)}, after {text['steps']:,} training steps each "
        f"(the RNN after {later['steps']:,}: {100 * later['closing']:.0f} %)"
    )
