"""Runs a training step of a chain of layers in one call of compiled code: forward, loss and backward.

csrc/training_step.h holds the steps. The numbers are those of PyTorch's operations and of the kernels, to
rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from longspan import _core
from longspan.cells import Cell

from . import native_cells
from .cpu_driver import bernoulli_mask

ACTIVATIONS = ("linear", "relu", "sigmoid", "tanh", "softmax")  # of Dense, in the order of csrc/chain.h
LOSSES = ("squared", "absolute", "binary", "categorical", "sparse")  # in the order of csrc/chain.h
_MOST_SHAPES = 16  # of batches that a step keeps buffers for
_MOST_PRODUCTS = 1 << 24  # multiply-adds of a dense layer; beyond, PyTorch's products are faster
_MOST_ADAM = 1 << 18  # numbers in all weights; beyond, PyTorch's step of Adam on all threads is as fast


class Embedding(NamedTuple):
    """Codes to rows of a table (V, D); the first layer."""

    table: Tensor


class Recurrent(NamedTuple):
    """A recurrent layer in one direction or two.

    weights: for each direction w (G*H, I), r, bx, br, p as in `longspan.kernels.job.Weights`; None where a
        layer has none.
    sequences: whether the outputs of all steps are returned; else the last h.
    zeros: whether outputs are 0 at steps that the mask hides; else the h carried on.
    backwards: for each direction, whether it reads from the last step to the first.
    dropout: rate of dropout on h_{t-1} in training, one mask a sequence.
    """

    cell: Cell
    hidden_size: int
    weights: tuple[tuple[Tensor | None, ...], ...]
    sequences: bool
    zeros: bool
    backwards: tuple[bool, ...]
    dropout: float


class Dense(NamedTuple):
    """activation(x W^T + b), W (U, K); activation: one of ACTIVATIONS."""

    weight: Tensor
    bias: Tensor | None
    activation: str


class Dropout(NamedTuple):
    """Values zeroed with probability `rate`, the others scaled up.

    shared: whether the steps of a row share a mask, as `longspan.nn.dropout` draws it; else every value has a
        draw of its own, as torch.dropout draws it.
    """

    rate: float
    shared: bool = False


class Flatten(NamedTuple):
    """(B, T, F) -> (B, T * F)."""


Part = Embedding | Recurrent | Dense | Dropout | Flatten


class LossSpec(NamedTuple):
    """The mean loss: one of LOSSES, of logits or of values held between epsilon and 1 - epsilon."""

    name: str
    logits: bool
    epsilon: float


class TrainingStep:
    """The forward pass, the loss and the backward pass of a chain of layers, on the CPU in float32.

    Args:
        parts: the layers in order.
        loss: of the last layer's output; None for predictions alone.
        isa: the instruction set.

    Attributes:
        gradients: (weight, gradient) of every weight that requires one; `run` overwrites the gradients.
    """

    def __init__(self, parts: Sequence[Part], loss: LossSpec | None, isa: str) -> None:
        self._parts, self._loss, self._isa = tuple(parts), loss, isa
        self._weights = [weight for part in parts for weight in _weights_of(part)]
        self._gradients = [
            torch.empty_like(weight) if loss and weight is not None and weight.requires_grad else None
            for weight in self._weights
        ]
        pairs = zip(self._weights, self._gradients, strict=True)
        self.gradients = [(weight, grad) for weight, grad in pairs if weight is not None and grad is not None]
        self._gradient_addresses = _addresses(self._gradients)
        self._by_shape: dict[tuple[int, ...], tuple[_core.TrainingStep, _Shapes] | None] = {}

    def run(
        self, x: Tensor, target: Tensor, mask: Tensor | None = None, weight: Tensor | None = None
    ) -> tuple[float, Tensor] | None:
        """The loss of a batch and the last layer's output; the gradients are those of the loss.

        A loss that is not finite leaves the gradients without a meaning.

        Args:
            x: contiguous, (B, T, I) or (B, I) float32, or codes (B, T) int64 for an embedding.
            target: contiguous; float32 in the output's order, of the loss "sparse" int64.
            mask: contiguous, (B, T) bool: False where recurrent layers skip a step.
            weight: contiguous, float32, one number for every row of the output: what its loss counts.

        Returns:
            None where the step does not take the batch: its shape does not suit the weights, a size is too
            large, a code or class is out of range.
        """
        made = self._step_for(tuple(x.shape))
        if made is None or target.numel() != made[1].targets or not _is_mask_of(x, mask):
            return None
        native, shapes = made
        if weight is not None and weight.numel() != _rows(shapes.out):
            return None
        out = torch.empty(shapes.out)
        drops = [draw() for draw in shapes.drops]
        loss = native.run(
            x.data_ptr(), target.data_ptr(), out.data_ptr(), _addresses(self._weights),
            self._gradient_addresses, _addresses(drops), *_addresses((mask, weight)), torch.get_num_threads(),
        )  # fmt: skip
        return None if loss == -1.0 else (loss, out)

    def predict(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """The last layer's output without dropout; x, mask and None as for `run`."""
        made = self._step_for(tuple(x.shape))
        if made is None or not _is_mask_of(x, mask):
            return None
        native, shapes = made
        out = torch.empty(shapes.out)
        weights, threads = _addresses(self._weights), torch.get_num_threads()
        return (
            out
            if native.predict(x.data_ptr(), out.data_ptr(), weights, *_addresses((mask,)), threads)
            else None
        )

    def output_shape(self, shape: Sequence[int]) -> tuple[int, ...] | None:
        """The output's shape for x of a shape; None where the step does not take it."""
        made = self._step_for(tuple(shape))
        return None if made is None else made[1].out

    def _step_for(self, shape: tuple[int, ...]) -> tuple[_core.TrainingStep, _Shapes] | None:
        """The compiled step for batches of one shape, made once."""
        if shape not in self._by_shape:
            self._by_shape[shape] = self._made(shape) if len(self._by_shape) < _MOST_SHAPES else None
        return self._by_shape[shape]

    def _made(self, shape: tuple[int, ...]) -> tuple[_core.TrainingStep, _Shapes] | None:
        """The compiled step for batches of one shape; None where the shape does not suit a layer."""
        if len(shape) < 2 or 0 in shape:
            return None
        coded = isinstance(self._parts[0], Embedding)
        steps = shape[1] if coded or len(shape) == 3 else 1
        native = _core.TrainingStep(self._isa, shape[0], steps)
        current, drops = shape, []
        for part in self._parts:
            if not _suits(part, current):
                return None
            if draw := _drawn(part, current):
                drops.append(draw)
            current = _add(native, part, current, self._isa)
        if self._loss is None:
            return native, _Shapes(current, drops, 0)
        name, logits, epsilon = self._loss
        native.loss(LOSSES.index(name), logits, epsilon, current[-1])
        targets = _rows(current) if name == "sparse" else _rows(current) * current[-1]
        return native, _Shapes(current, drops, targets)


class _Shapes(NamedTuple):
    """For one shape of batch: the output, what draws dropout masks, how many numbers the target has."""

    out: tuple[int, ...]
    drops: list[Callable[[], Tensor]]
    targets: int


def _addresses(tensors: Sequence[Tensor | None]) -> list[int]:
    """Where tensors lie, 0 for none."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def _weights_of(part: Part) -> list[Tensor | None]:
    """The weights of a layer in the order of csrc/training_step.h."""
    if isinstance(part, Embedding):
        return [part.table]
    if isinstance(part, Recurrent):
        return [weight for direction in part.weights for weight in direction]
    return [part.weight, part.bias] if isinstance(part, Dense) else []


def _is_mask_of(x: Tensor, mask: Tensor | None) -> bool:
    """Whether a mask has a value for every step of x."""
    return mask is None or (mask.dtype is torch.bool and x.dim() > 1 and mask.shape == x.shape[:2])


def _drawn(part: Part, shape: tuple[int, ...]) -> Callable[[], Tensor] | None:
    """What draws the dropout mask of a layer that reads values of a shape."""
    if isinstance(part, Dropout) and not part.shared:
        return lambda: torch.empty(shape).bernoulli_(1.0 - part.rate).div_(1.0 - part.rate)
    if isinstance(part, Dropout):
        return partial(_shared_mask, (shape[0], 1, shape[-1]), part.rate)
    if isinstance(part, Recurrent) and part.dropout:
        return partial(_shared_mask, (len(part.backwards), shape[0], part.hidden_size), part.dropout)
    return None


def _shared_mask(shape: tuple[int, ...], rate: float) -> Tensor:
    """The draw of `longspan.nn.dropout.dropout_mask`."""
    return bernoulli_mask(shape, 1.0 - rate).to(torch.float32).div_(1.0 - rate)


def _rows(shape: tuple[int, ...]) -> int:
    return shape[0] * shape[1] if len(shape) == 3 else shape[0]


def _suits(part: Part, shape: tuple[int, ...]) -> bool:
    """Whether a layer's weights are for values of a shape, and its products not too large."""
    if isinstance(part, Embedding):
        return len(shape) == 2
    if isinstance(part, Dropout):
        return len(shape) in ((3,) if part.shared else (2, 3))
    if isinstance(part, Recurrent):
        weight = part.weights[0][0]
        return len(shape) == 3 and weight is not None and weight.shape[1] == shape[-1]
    if isinstance(part, Dense):
        fits = len(shape) in (2, 3) and part.weight.shape[1] == shape[-1]
        return fits and _rows(shape) * part.weight.numel() <= _MOST_PRODUCTS
    return True


def _add(native: _core.TrainingStep, part: Part, shape: tuple[int, ...], isa: str) -> tuple[int, ...]:
    """Add a layer that reads values of a shape; returns its output's shape."""
    if isinstance(part, Embedding):
        native.embedding(*part.table.shape)
        return (*shape, part.table.shape[1])
    if isinstance(part, Recurrent):
        address = native_cells.address_of(part.cell, isa)
        native.recurrent(
            address, shape[-1], part.hidden_size, part.sequences, part.zeros, part.dropout > 0,
            list(map(int, part.backwards)),
        )  # fmt: skip
        width = part.hidden_size * len(part.backwards)
        return (*shape[:2], width) if part.sequences else (shape[0], width)
    if isinstance(part, Dense):
        native.dense(shape[-1], part.weight.shape[0], ACTIVATIONS.index(part.activation))
        return (*shape[:-1], part.weight.shape[0])
    if isinstance(part, Flatten):
        native.flatten()
        return (shape[0], shape[1] * shape[2]) if len(shape) == 3 else shape
    native.dropout(shape[-1], part.shared)
    return shape


def adam_fits(*lists: Sequence[Tensor]) -> bool:
    """Whether `adam` takes these: contiguous float32 on the CPU, and few enough that a call's cost counts."""
    return sum(param.numel() for param in lists[0]) <= _MOST_ADAM and all(
        tensor.dtype is torch.float32 and tensor.is_cpu and tensor.is_contiguous()
        for tensors in lists
        for tensor in tensors
    )


def adam(
    params: Sequence[Tensor],
    grads: Sequence[Tensor],
    averages: Sequence[Tensor],
    squares: Sequence[Tensor],
    *,
    rate: float,
    betas: tuple[float, float],
    epsilon: float,
    step: int,
    weight_decay: float,
) -> None:
    """One step of AdamW in place, as torch.optim writes it: the denominator is sqrt(v / (1 - beta^t)) + eps.

    Args:
        params, grads, averages, squares: contiguous float32 tensors on the CPU, one of each a weight.
        step: t, the number of this step, from 1.
    """
    lists = (params, grads, averages, squares)
    _core.adam(
        native_cells.WIDEST, *map(_addresses, lists),
        [param.numel() for param in params], rate, *betas, epsilon, *(1.0 - beta**step for beta in betas),
        weight_decay, torch.get_num_threads(),
    )  # fmt: skip
