"""Makes torch.nn's layer and ours with the same weights, and compares outputs, states and gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from longspan import kernels, nn

T, B, I, H = 5, 3, 4, 6

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "tanh": ("RNN", {}),
    "relu": ("RNN", {"nonlinearity": "relu"}),
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {}),
    "proj": ("LSTM", {"proj_size": 2}),
}
CELLS = {k: (name + "Cell", options) for k, (name, options) in KINDS.items() if k != "proj"}
kinds = pytest.mark.parametrize("kind", KINDS)
every_cell = pytest.mark.parametrize(
    "name", ["rnn", "rnn_relu", "lstm", "gru", "peephole", "cifg", "slstm", "indrnn"]
)


def both(kind: str, *sizes: Any, table: Any = KINDS, **options: Any) -> tuple[Any, Any]:
    """torch.nn's layer and ours with its weights."""
    name, own = table[kind]
    theirs = getattr(torch.nn, name)(*(sizes or (I, H)), **own, **options)
    ours = getattr(nn, name)(*(sizes or (I, H)), **own, **options)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    return theirs, ours


def flat(value: Any) -> list[Tensor]:
    """The tensors of an output, in order."""
    if isinstance(value, PackedSequence):
        return [value.data]
    return [value] if isinstance(value, Tensor) else [t for part in value for t in flat(part)]


def gradients(outputs: Any, leaves: Iterable[Tensor]) -> list[Tensor]:
    """The gradients of an uneven sum of all outputs."""
    total: Any = 0.0
    for tensor in flat(outputs):
        factors = torch.arange(1.0, tensor.numel() + 1, dtype=tensor.dtype).sin().view_as(tensor)
        total = total + (tensor * factors).sum()
    return list(torch.autograd.grad(total, list(leaves)))


def same(found: Any, wanted: Any, rtol: float = 1e-4, atol: float = 1e-5) -> None:
    for a, b in zip(flat(found), flat(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


def states(layer: Any, rows: int | None = B) -> Any:
    """A random state for a layer of one size, shaped as torch.nn does, with gradients."""
    many = layer.num_layers * (2 if layer.bidirectional else 1)
    widths = [layer.proj_size or layer.hidden_size] + [layer.hidden_size] * (len(layer.cell.states) - 1)
    shape = (many,) if rows is None else (many, rows)
    made = [torch.randn(*shape, width, requires_grad=True) for width in widths]
    return tuple(made) if len(made) > 1 else made[0]


def compare(
    theirs: Any, ours: Any, x: Tensor, state: Any, wrap: Callable[[Tensor], Any] = lambda x: x
) -> None:
    """Equal outputs, states and every gradient, with and without a state given."""
    for given in (None, state):
        leaves = [x, *([] if given is None else flat(given))]
        wanted, found = theirs(wrap(x), given), ours(wrap(x), given)
        same(found, wanted)
        same(
            gradients(found, [*leaves, *ours.parameters()]),
            gradients(wanted, [*leaves, *theirs.parameters()]),
        )


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The jobs that layers make from now on."""
    jobs: list[Any] = []
    run = kernels.run

    def running(job: Any) -> Any:
        jobs.append(job)
        return run(job)

    monkeypatch.setattr(kernels, "run", running)
    return jobs


def by_time(batch_first: bool, value: Tensor) -> tuple[Tensor]:
    """A (B, T, …) tensor as a layer takes it, or its output back."""
    return (value if batch_first else value.transpose(0, 1),)
