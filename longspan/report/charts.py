"""Charts that reports of several tasks share: what each gate did over the steps of a sequence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .elements import HeatMap, Line, LineChart, Tabs, Values

_UNITS = 24  # rows of a heat map of a gate
_GATES = {"i": "input gate", "f": "forget gate", "g": "candidate", "o": "output gate", "r": "reset gate",
          "z": "update gate", "n": "candidate", "c": "cell state", "h": "output"}  # fmt: skip
# What to see in the picture of a gate or state.
_MEANINGS = {
    "i": "How much of its candidate a unit takes into its cell state: 0 for nothing, 1 for all.",
    "f": "How much of its cell state a unit keeps: 1 for all, 0 for none; a pale row forgets soon.",
    "g": "What a unit would write into its cell state at this step.",
    "o": "How much of its cell state a unit shows to the next step and layer: 0 for nothing, 1 for all.",
    "r": "How much of the last output a unit reads for its candidate: 0 starts afresh.",
    "z": "How much of its last output a unit keeps: 1 keeps all, 0 takes the candidate.",
    "n": "What a unit would put in the place of its last output.",
    "c": "What a unit remembers: long stripes of one colour are long memory.",
    "h": "What a unit passes on to the next step and layer.",
}


def gates(layers: Sequence[Mapping[str, Any]], x: Values, values: Values, name: str) -> Tabs:
    """What each gate did over the steps of one sequence, a layer at a time.

    Args:
        layers: per layer, letter -> (B, T, H), of which the first row of the batch is shown.
        x: times of the T steps; values: the input at those steps; name: what the input is called.
    """
    seen = LineChart("The input", "time", name, [Line("actual", x, values)])
    shown = {f"layer {place + 1}": [seen, *_maps(layer, x)] for place, layer in enumerate(layers)}
    return Tabs("What the gates did", shown)


def _maps(layer: Mapping[str, Any], x: Values) -> list[LineChart | HeatMap]:
    maps: list[LineChart | HeatMap] = []
    for letter, value in layer.items():
        values = value[0, :, :_UNITS].T.cpu().numpy()
        low, high = (0.0, 1.0) if letter in "ifozr" and values.min() >= 0 else (None, None)
        name = f"{_GATES.get(letter, letter)} ({letter})"
        note = _MEANINGS.get(letter, "")
        maps.append(HeatMap(name, "time", "unit", x, values, low=low, high=high, note=note))
    return maps
