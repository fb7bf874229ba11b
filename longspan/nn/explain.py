"""Explains which kernel runs a recurrent layer, and why the other kernels do not."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from longspan import errors, kernels

from .base import RNNBase
from .state import State


def explain(
    layer: RNNBase,
    input: Tensor | PackedSequence,
    hx: State | None = None,
    *,
    lengths: Sequence[int] | Tensor | None = None,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    return_gates: bool = False,
) -> str:
    """Which kernel would run `layer(input, ...)`, and why the others would not, in words.

    Args: as for calling the layer. Nothing is computed and no random number is used up.

    Returns:
        For each layer of the stack one sentence on the kernel that would run it, and one for each that would
        not.

    Raises:
        TypeError: `layer` is not a recurrent layer of this library; other errors as for calling it.

    >>> from longspan.nn import LSTM
    >>> print(explain(LSTM(3, 4), torch.randn(5, 2, 3)).splitlines()[0])  # doctest: +ELLIPSIS
    layer 0: lstm, T=5, B=2, I=3, H=4, one direction, float32 on cpu: ... runs it.
    """
    if not isinstance(layer, RNNBase):
        way_out = "pass the layer itself, such as model.lstm"
        raise errors.type_error("layer", "a recurrent layer of longspan.nn", layer, way_out)
    jobs = layer.jobs(input, hx, lengths=lengths, mask=mask, reset=reset, return_gates=return_gates)
    return "\n".join(f"layer {depth}: {kernels.explain(job)}" for depth, job in enumerate(jobs))
