"""Exchanges the weights of layers with modules of torch.nn, by torch's names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from longspan import errors

from .layer_info import LayerLike

_LAYER = re.compile(r"_l(\d+)")  # the number of a layer in the names of a stack's weights


def to_torch(layer: LayerLike) -> dict[str, Tensor]:
    """The state_dict of the torch.nn module of the same kind and sizes, detached from the layer.

    LSTM, GRU, SimpleRNN and Bidirectional of them give that of torch.nn.LSTM, GRU and RNN (bidirectional),
    Dense of Linear, Embedding, Conv1D, Conv2D, LayerNormalization and BatchNormalization of theirs.

    >>> import torch
    >>> from longspan.layers import LSTM
    >>> layer = LSTM(4)
    >>> _ = layer(torch.zeros(1, 5, 3))
    >>> torch.nn.LSTM(3, 4).load_state_dict(to_torch(layer))
    <All keys matched successfully>
    """
    return {name.removeprefix("core."): value.detach().clone() for name, value in layer.state_dict().items()}


def from_torch(layers: LayerLike | Sequence[LayerLike], state: Mapping[str, Tensor]) -> None:
    """Take the weights of a torch.nn module.

    Where Keras has one bias and torch two (LSTM, RNN), the bias becomes their sum, which gives the same
    numbers.

    Args:
        layers: a built layer; or a list with one for each layer of a stacked torch.nn.LSTM, GRU or RNN.
        state: the module's state_dict.

    Raises:
        ValueError: a weight is missing, left over, or of another shape.

    >>> import torch
    >>> from longspan.layers import GRU
    >>> theirs, ours = torch.nn.GRU(3, 4, batch_first=True), GRU(4, return_sequences=True)
    >>> x = torch.randn(2, 5, 3)
    >>> _ = ours(x)
    >>> from_torch(ours, theirs.state_dict())
    >>> torch.allclose(ours(x), theirs(x)[0], atol=1e-6)
    True
    """
    targets = list(layers) if isinstance(layers, Sequence) else [layers]
    parts = _by_layer(state)
    if len(parts) != len(targets):
        way_out = "pass one of ours for each layer of the stack"
        raise errors.value_error(
            "state", f"the weights of {len(targets)} layers", f"those of {len(parts)}", way_out
        )
    for layer, part in zip(targets, parts, strict=True):
        _take(layer, part)


def _by_layer(state: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The weights of each layer of a stack, under the names of a single layer."""
    numbers = sorted({int(match[1]) for name in state if (match := _LAYER.search(name))})
    if not numbers:
        return [{name: value for name, value in state.items() if name != "num_batches_tracked"}]
    return [
        {_LAYER.sub("_l0", name): value for name, value in state.items() if _layer_number(name) == number}
        for number in numbers
    ]


def _layer_number(name: str) -> int | None:
    match = _LAYER.search(name)
    return int(match[1]) if match else None


def _take(layer: LayerLike, part: dict[str, Tensor]) -> None:
    own = layer.state_dict()
    prefix = "core." if any(name.startswith("core.") for name in own) else ""
    renamed: dict[str, Any] = {f"{prefix}{name}": value for name, value in part.items()}
    _join_biases(layer, renamed)
    if own.keys() != renamed.keys():
        odd = ", ".join(sorted(own.keys() ^ renamed.keys())).replace("core.", "")
        way_out = "build the layer first, with the module's options"
        expected = "the weights of a module of its kind"
        raise errors.value_error(f"state for {layer.name}", expected, f"a difference in {odd}", way_out)
    for name, value in renamed.items():
        if value.shape != own[name].shape:
            argument = f"{name.removeprefix('core.')} for {layer.name}"
            expected = f"shape {tuple(own[name].shape)}"
            raise errors.value_error(argument, expected, tuple(value.shape), "match units and inputs")
    layer.load_state_dict(renamed)


def _join_biases(layer: LayerLike, renamed: dict[str, Any]) -> None:
    """One bias out of torch's two where Keras has one."""
    single = [
        weight.name for weight in layer.keras_weights() if weight.name == "bias" and len(weight.shape) == 1
    ]
    for name in [name for name in renamed if ".bias_hh" in name]:
        first = name.replace("bias_hh", "bias_ih")
        if single and first in renamed:
            renamed[first] = renamed[first] + renamed[name]
            renamed[name] = renamed[name].new_zeros(renamed[name].shape)
