"""Finds out whether a chain of layers trains by one compiled step a batch, and makes that step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules import module as torch_module

from longspan import activations, losses
from longspan import nn as fast
from longspan.config import epsilon
from longspan.data.batches import Batch, input_mask
from longspan.kernels import native_cells, selection
from longspan.kernels import training_step as steps
from longspan.kernels.cpu import instruction_set
from longspan.kernels.tracing import dispatch_modes, in_transform
from longspan.layers import (
    GRU,
    LSTM,
    Bidirectional,
    Dense,
    Dropout,
    Embedding,
    Flatten,
    Masking,
    SimpleRNN,
    SpatialDropout1D,
    TimeDistributed,
)
from longspan.layers.base import Layer

from .protocol import Model

_FIELDS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_p")
_GLOBAL_HOOKS = [
    hooks
    for name, hooks in vars(torch_module).items()
    if name.startswith("_global_") and name.endswith("_hooks")
]
_ACTIVATIONS: dict[Any, str] = {activations.get(name): name for name in steps.ACTIVATIONS}


class Unfit(Exception):
    """Why a model does not train by the compiled step; in words that follow "since"."""


class OutputMask:
    """The mask of the last output, or of each; setting it costs nothing, unlike a Module's attribute."""

    __slots__ = ("mask",)

    def __init__(self) -> None:
        self.mask: Any = None


class NativeStep:
    """A training step of a model by one call of compiled code, or a prediction.

    Args:
        layers: a chain, built.
        loss: of the last layer's output; None for predictions alone.
        output_mask: gets the mask of every output, (B, T) bool or None.

    Raises:
        Unfit: the general loop has to train it; the reason is given.
    """

    def __init__(self, layers: Sequence[Layer], loss: losses.Loss | None, output_mask: OutputMask) -> None:
        self._loss, self._output_mask = loss, output_mask
        first = layers[0] if layers else None
        self._masking = first if type(first) is Masking else None
        self._mask_zero = isinstance(first, Embedding) and first.mask_zero
        parts = [part for layer in layers if layer is not self._masking for part in _parts(layer)]
        if not any(isinstance(part, steps.Recurrent) for part in parts):
            raise Unfit("no layer is recurrent")
        spec = None if loss is None else _loss_spec(loss)
        self._coded = isinstance(parts[0], steps.Embedding)
        self._ends_mask = any(isinstance(part, steps.Flatten) for part in parts)
        self._sparse = spec is not None and spec.name == "sparse"
        self._step = steps.TrainingStep(parts, spec, instruction_set())
        self.gradients = self._step.gradients
        if spec is not None and not self.gradients:
            raise Unfit("no weight learns")

    def run(self, batch: Batch) -> tuple[float, Tensor] | None:
        """The loss and the output of a batch; None where the general loop has to take it."""
        read, y = self._input(batch), batch.y
        if read is None or type(y) is not Tensor:
            return None
        x, mask = read
        shape = self._step.output_shape(x.shape)
        if shape is None or not _fits(y.shape, shape, self._sparse):
            return None
        self._output_mask.mask = of_output = mask if len(shape) == 3 else None
        weight = None
        if batch.weight is not None or of_output is not None:
            if type(batch.weight) not in (type(None), Tensor) or (y.dim() < len(shape) and not self._sparse):
                return None
            weight = self._weight(shape[:-1], batch.weight, of_output)
        y = y.to(torch.int64 if self._sparse else torch.float32).contiguous()
        return self._step.run(x, y, mask, weight)

    def predict(self, batch: Batch) -> Tensor | None:
        """The output of a batch; None where the general loop has to take it."""
        read = self._input(batch)
        if read is None:
            return None
        x, mask = read
        output = self._step.predict(x, mask)
        self._output_mask.mask = mask if output is not None and output.dim() == 3 else None
        return output

    def _weight(self, shape: Sequence[int], weight: Tensor | None, mask: Tensor | None) -> Tensor | None:
        """What the loss of every row of the output is multiplied by."""
        if self._loss is None:
            return None
        return self._loss.row_factors(shape, weight, mask).to(torch.float32).contiguous()

    def _input(self, batch: Batch) -> tuple[Tensor, Tensor | None] | None:
        """The batch's input and its mask as the step reads them; None where the batch is of another kind."""
        x = batch.x
        if type(x) is not Tensor or batch.continues:
            return None
        mask = input_mask(batch)
        if self._coded:
            if mask is not None:
                return None
            x, mask = x.to(torch.int64), x.ne(0) if self._mask_zero else None
        else:
            x = x.to(torch.float32)
            if self._masking is not None:
                x, mask = self._masking.call(x), self._masking.compute_mask(x, mask)
        if mask is not None:
            if self._ends_mask:
                return None
            mask = mask.bool().contiguous()
        return x.contiguous(), mask


def _fits(target: Sequence[int], out: Sequence[int], sparse: bool) -> bool:
    """Whether a target's values lie in the output's order; a last dimension of 1 may be left out or added."""
    expected = tuple(out[:-1] if sparse else out)
    return tuple(target) in (expected, (*expected, 1)) or (
        expected[-1:] == (1,) and tuple(target) == expected[:-1]
    )


def chain_of(model: Model) -> list[Layer]:
    """The layers of a model that calls one after the other; raises `Unfit` for another."""
    layers = model.chain()
    if layers is None:
        raise Unfit("it is no chain of layers")
    return layers


def check_surroundings(model: Model) -> None:
    """Raise `Unfit` where PyTorch, the caller or hooks of the model ask for more than numbers."""
    if selection.forced() not in (None, "cpu") and not str(selection.forced()).startswith("cpu:"):
        raise Unfit(f"use_backend forces {selection.forced()!r}")
    if dispatch_modes() or in_transform() or torch.is_anomaly_enabled() or torch.is_autocast_enabled("cpu"):
        raise Unfit("a mode of PyTorch watches every operation")
    if any(map(len, _GLOBAL_HOOKS)):
        raise Unfit("PyTorch has hooks for every module")
    for part in model.modules():
        hooks = (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks)
        if any(hooks):
            raise Unfit(f"{type(part).__name__} has hooks")
    for name, parameter in model.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            raise Unfit(f"{name} has hooks")
        if parameter.dtype is not torch.float32 or parameter.device.type != "cpu":
            raise Unfit("weights are not float32 on the CPU")
        if not parameter.is_contiguous():
            raise Unfit(f"{name} is not contiguous")


def _parts(layer: Layer) -> list[steps.Part]:
    make = _MAKERS.get(type(layer))
    if make is None:
        raise Unfit(f"{layer.name} is a {type(layer).__name__}")
    if not layer.built:
        raise Unfit("it is not built")
    return make(layer)


def _embedding(layer: Any) -> list[steps.Part]:
    return [steps.Embedding(layer.weight)]


def _dense(layer: Any) -> list[steps.Part]:
    name = _ACTIVATIONS.get(layer._act)
    if name is None:
        raise Unfit(f"{layer.name} has the activation {layer.activation!r}")
    return [steps.Dense(layer.weight, layer.bias, name)]


def _time_distributed(layer: Any) -> list[steps.Part]:
    if type(layer.layer) is not Dense:
        raise Unfit(f"{layer.name} distributes a {type(layer.layer).__name__}")
    return _dense(layer.layer)


def _dropout(layer: Any) -> list[steps.Part]:
    if layer.noise_shape is not None or layer.rate == 1.0:
        raise Unfit(f"{layer.name} has a noise_shape or drops all")
    return [steps.Dropout(layer.rate)] if layer.rate else []


def _spatial_dropout(layer: Any) -> list[steps.Part]:
    return [steps.Dropout(layer.rate, shared=True)] if layer.rate else []


def _recurrent(layer: Any) -> list[steps.Part]:
    _check_recurrent(layer)
    if layer.go_backwards and layer.return_sequences:
        raise Unfit(f"{layer.name} returns reversed sequences")
    if layer.zero_output_for_mask and not layer.return_sequences:
        raise Unfit(f"{layer.name} has zero_output_for_mask")
    dropped = [steps.Dropout(layer.dropout, shared=True)] if layer.dropout else []
    return [*dropped, _core_part(layer, layer.core, ("",), (layer.go_backwards,))]


def _bidirectional(layer: Any) -> list[steps.Part]:
    for inner in (layer.forward_layer, layer.backward_layer):
        if type(inner) not in (LSTM, GRU, SimpleRNN):
            raise Unfit(f"{layer.name} wraps a {type(inner).__name__}")
        _check_recurrent(inner)
    ahead = layer.forward_layer
    if not layer._one_call() or layer.merge_mode != "concat" or ahead.go_backwards:
        raise Unfit(f"{layer.name} does not put two like directions side by side")
    return [_core_part(ahead, layer.core, ("", "_reverse"), (False, True))]


def _check_recurrent(layer: Any) -> None:
    if layer.stateful or layer.return_state:
        raise Unfit(f"{layer.name} carries or returns its state")


def _core_part(
    layer: Any, core: Any, suffixes: tuple[str, ...], backwards: tuple[bool, ...]
) -> steps.Recurrent:
    if type(core) is not fast.Recurrent or not native_cells.address_of(layer.cell, instruction_set()):
        raise Unfit(f"{layer.name} has no compiled kernel")
    weights = tuple(
        tuple(core._parameters.get(f"{field}_l0{suffix}") for field in _FIELDS) for suffix in suffixes
    )
    return steps.Recurrent(
        layer.cell,
        layer.units,
        weights,
        sequences=layer.return_sequences,
        zeros=layer.zero_output_for_mask,
        backwards=backwards,
        dropout=core.recurrent_dropout,
    )


_MAKERS: dict[type, Callable[[Any], list[steps.Part]]] = {
    Embedding: _embedding,
    LSTM: _recurrent,
    GRU: _recurrent,
    SimpleRNN: _recurrent,
    Bidirectional: _bidirectional,
    Dense: _dense,
    TimeDistributed: _time_distributed,
    Dropout: _dropout,
    SpatialDropout1D: _spatial_dropout,
    Flatten: lambda layer: [steps.Flatten()],
}


def _loss_spec(loss: losses.Loss) -> steps.LossSpec:
    name = _LOSSES.get(type(loss))
    options = {key: value for key, value in loss.get_config().items() if key not in ("name", "reduction")}
    logits = bool(options.pop("from_logits", False))
    usual = {"label_smoothing": 0.0, "axis": -1, "ignore_class": None}
    if name is None:
        raise Unfit(f"the loss is {loss.name}")
    if not loss._is_mean or any(usual.get(key) != value for key, value in options.items()):
        raise Unfit(f"the loss is {loss.name} with options of its own")
    return steps.LossSpec(name, logits, epsilon())


_LOSSES: dict[type, str] = {
    losses.MeanSquaredError: "squared",
    losses.MeanAbsoluteError: "absolute",
    losses.BinaryCrossentropy: "binary",
    losses.CategoricalCrossentropy: "categorical",
    losses.SparseCategoricalCrossentropy: "sparse",
}
