"""Builds the last sections of every task's report: training, and how to reproduce the fit."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from longspan.report.elements import Element, Line, LineChart, Section, Table, Text

from .options import as_text, options_of
from .parts import Fitted, TaskParts
from .provenance import DataSource


def common_sections(
    task: TaskParts[Any, Any, Any, Any], fitted: Fitted[Any, Any, Any], notes: Sequence[str]
) -> list[Section]:
    """The sections on a task's training and on its options."""
    return [
        Section("Training", _training(fitted, notes)),
        Section("How to reproduce", _recipe(task, fitted.data)),
    ]


def held_out_sections(
    held_out: Mapping[str, Any], shown: Mapping[str, str], rival: str, low: Sequence[str] = ()
) -> list[Section]:
    """The scores on the held-out part beside those of a trivial rival; [] where nothing was held out.

    Args:
        held_out: rows, scores and rival_scores, as a codec keeps them; older files have no rival_scores.
        shown: metric -> heading; rival: what the rival answers; low: metrics of which less is better.
    """
    if "rival_scores" not in held_out:
        return []
    kinds = {"model": held_out["scores"], rival: held_out["rival_scores"]}
    names = {name: heading for name, heading in shown.items() if name in held_out["scores"]}
    rows = [[kind, *(scores[name] for name in names)] for kind, scores in kinds.items()]
    best = {heading: "low" if name in low else "high" for name, heading in names.items()}
    note = f"{held_out['rows']:,} records that were not trained on."
    table = Table("Held-out part", ["", *names.values()], rows, note=note, best=best, emphasis=0)
    return [Section("Held-out part", [table])]


def _training(fitted: Fitted[Any, Any, Any], notes: Sequence[str]) -> list[Element]:
    history, network = fitted.history, fitted.network
    x = [epoch + 1 for epoch in history.epoch]
    lines = [Line(name, x, values) for name, values in history.history.items() if "loss" in name]
    count = sum(weight.numel() for weight in network.parameters())
    elements: list[Element] = [
        LineChart("Training curve", "epoch", "loss", lines, note=history.stopped or ""),
        Text("Network", f"{count:,} weights.\n{network}", code=True),
    ]
    return [*elements, Text("Notes", "\n".join(notes))] if notes else elements


def _recipe(task: TaskParts[Any, Any, Any, Any], data: DataSource | None) -> list[Element]:
    options = options_of(type(task))
    rows = [[name, as_text(value), options[name].help] for name, value in task.get_params().items()]
    flags = [f"{options[n].flag} {shlex.quote(as_text(v))}" for n, v in task.changed_params().items()]
    paths = () if data is None else data.paths
    sources = " ".join(map(shlex.quote, paths)) or "SOURCE"
    command = " ".join([f"longspan fit {task.name} {sources} -o MODEL", *flags])
    code = f"import longspan\n\nlongspan.{task!r}.fit({', '.join(map(repr, paths)) or 'SOURCE'})"
    return [
        *([] if data is None else [Text("Data", str(data))]),
        Text("Command", command, code=True),
        Text("Python", code, code=True),
        Table("Options", ["option", "value", "meaning"], rows),
    ]
