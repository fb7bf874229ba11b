"""The base of every recurrent layer: stacked cells in one or two directions, run over whole sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import Module
from torch.nn import RNNBase as TorchRNNBase
from torch.nn.utils.rnn import PackedSequence
from typing_extensions import Unpack

from longspan import errors, kernels
from longspan.cells import Cell
from longspan.kernels.job import Job
from longspan.kernels.single_step import SingleStep

from . import autocast, inputs, options, parameters, torch_operators
from . import dropout as dropout_masks
from .call import Call, StackOutputs, as_returned, in_compute_dtype, new_call
from .state import State, StateLayout


class RNNBase(TorchRNNBase):
    """Any recurrent layer: num_layers stacked cells in one or two directions. Abstract; see LSTM.

    It inherits from torch.nn.RNNBase only so that `isinstance` in other libraries finds a recurrent layer. It
    uses none of the methods of that class.

    Shapes: B rows, T steps, I input size, H hidden size, L layers, D directions. R is the width of h:
    proj_size, or H without a projection.

    Attributes:
        mode: torch.nn's name of the cell, such as "LSTM" or "RNN_TANH"; "LONGSPAN" for a cell that torch.nn
            does not have.
    """

    mode = "LONGSPAN"
    hidden_size: Any  # an int, or a tuple with one for each layer
    # torch.nn.RNNBase keeps a second list of its weights; here the parameters are the only one.
    __setattr__ = Module.__setattr__  # pyright: ignore[reportAssignmentType]
    __setstate__ = Module.__setstate__  # pyright: ignore[reportAssignmentType]
    _apply = Module._apply  # pyright: ignore[reportAssignmentType]
    _replicate_for_data_parallel = Module._replicate_for_data_parallel  # pyright: ignore

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
        /,
        **extra: Unpack[options.RecurrentOptions],
    ) -> None:
        Module.__init__(self)
        self.cell = options.resolve_cell(cell)
        self._set_sizes(input_size, hidden_size, num_layers, bidirectional, proj_size)
        self._set_options(bias, batch_first, dropout, options.with_defaults(type(self), extra))
        self._create_parameters(device, options.check_floating(dtype))

    def _set_sizes(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int,
        bidirectional: bool,
        proj_size: int,
    ) -> None:
        self.input_size = errors.check_int("input_size", input_size, 1, "give the number of values a step")
        self.hidden_sizes = options.hidden_sizes(hidden_size, num_layers)
        self.hidden_size = self.hidden_sizes if isinstance(hidden_size, Sequence) else self.hidden_sizes[0]
        self.num_layers = len(self.hidden_sizes)
        self.bidirectional = errors.check_bool("bidirectional", bidirectional)
        self.proj_size = options.check_proj_size(proj_size, self.cell, self.hidden_sizes)
        self._directions = 2 if self.bidirectional else 1

    def _set_options(self, bias: bool, batch_first: bool, dropout: float, extra: Mapping[str, Any]) -> None:
        self.bias = errors.check_bool("bias", bias)
        self.batch_first = errors.check_bool("batch_first", batch_first)
        self.dropout = options.check_layer_dropout(dropout, self.num_layers)
        self.layer_norm = errors.check_bool("layer_norm", extra["layer_norm"])
        self.recurrent_dropout = options.check_recurrent_rate(
            "recurrent_dropout", extra["recurrent_dropout"], self.cell
        )
        self.zoneout = options.zoneout_rates(extra["zoneout"], self.cell)
        self.weight_dropout = options.check_recurrent_rate(
            "weight_dropout", extra["weight_dropout"], self.cell
        )
        self.forget_bias = options.check_forget_bias(extra["forget_bias"], self.cell, self.bias)
        # `step` compares `zoneout` with it by identity, so that a zoneout set later is seen at no cost.
        self._no_zoneout = None if any(self.zoneout) else self.zoneout

    def _create_parameters(self, device: torch.device | str | None, dtype: torch.dtype | None) -> None:
        self._weights = self._register_parameters(device, dtype)
        one_size = isinstance(self.hidden_size, int)
        self._states = StateLayout(
            self.cell, self.hidden_sizes, self.proj_size, self._directions, by_layer=not one_size
        )
        self._stream = None  # a faster `step`, for the layers that it supports
        self._layer_stream: SingleStep | None = None  # the same for states without the layer's dimension
        if one_size and not (self.bidirectional or self.proj_size or self.layer_norm):
            fields = [list(row) for row in self._weights.rows]
            self._stream = SingleStep(self.cell, self.input_size, self.hidden_sizes[0], fields, layered=True)
        self.reset_parameters()

    def _register_parameters(
        self, device: torch.device | str | None, dtype: torch.dtype | None
    ) -> parameters.ParameterTable:
        """Register the parameters of every layer and direction, in torch.nn's order and with its names."""
        table, width = parameters.ParameterTable(self._directions), self.input_size
        for layer, hidden in enumerate(self.hidden_sizes):
            shapes = parameters.parameter_shapes(
                self.cell, width, hidden, proj=self.proj_size, bias=self.bias, layer_norm=self.layer_norm
            )
            for suffix in ("", "_reverse")[: self._directions]:
                table.add(self, shapes, f"_l{layer}{suffix}", device, dtype)
            width = self._directions * (self.proj_size or hidden)
        return table

    def reset_parameters(self) -> None:
        """Draw every parameter anew, as torch.nn does: the same seed gives the same numbers."""
        for row, fields in enumerate(self._weights.fields(self)):
            hidden = self.hidden_sizes[row // self._directions]
            parameters.initialise(fields, self.cell, hidden, self.forget_bias)

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters, one list for each layer and direction, in torch.nn's order; int8 ones in floats."""
        return [list(fields.values()) for fields in self._weights.float_fields(self)]

    @property
    def _flat_weights(self) -> list[Any]:
        """The parameters in one list; torch.nn's layers have an attribute of this name."""
        return [tensor for fields in self.all_weights for tensor in fields]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def flatten_parameters(self) -> None:
        """Nothing: kept for scripts written for torch.nn, where it arranges memory for cuDNN."""

    def forward(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        lengths: Sequence[int] | Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        return_gates: bool | None = None,  # torch's ONNX exporter cannot trace a bool
    ) -> tuple[Any, ...]:
        """Run the layer over whole sequences.

        Args:
            input: (T, B, I), or (B, T, I) with batch_first; (T, I) for one sequence; or a PackedSequence.
            hx: the state to start from, as a call returned it: (L*D, B, R) for h and (L*D, B, H) for the
                others, a tuple of them where the cell has several; without B for one sequence. None: the
                cell's constants (zeros).
            lengths: (B,) whole numbers, 0 to T: the real steps of each row. Beyond them nothing happens and
                the output is exactly 0.
            mask: bool, (T, B) or (B, T) with batch_first, (T,) for one sequence: where False the state stays
                as it is, and the output is its h.
            reset: bool, shaped like mask: where True the row's state is set to the cell's constants before
                that step.
            return_gates: also return the value of every gate and state.

        Returns:
            out: (T, B, D*R), laid out as the input, a PackedSequence for one.
            state: the state after every row's last step, in torch.nn's shapes. If hidden_size has one number
                for each layer, each state is a tuple with a tensor (D, B, H) for each layer.
            gates, with return_gates: a list; element `layer * D + direction` is a dict from each gate letter
                and state name to (B, T, H), (B, T, R) for h, with and without batch_first; (T, H) for one
                sequence. 0 at padding.

        Raises:
            ValueError, TypeError: an argument does not fit; the sentence names it.
            RuntimeError: the backend forced by `longspan.use_backend` refuses.

        >>> from longspan.nn import LSTM
        >>> layer = LSTM(3, 4, batch_first=True)
        >>> out, (h, c) = layer(torch.randn(2, 5, 3), lengths=[5, 2])
        >>> out.shape, h.shape
        (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
        """
        if torch_operators.recording():
            extra = {"lengths": lengths, "mask": mask, "reset": reset, "return_gates": return_gates}
            return torch_operators.run(self, input, hx, **extra)
        call = self._call(input, hx, lengths, mask, reset)
        if call.half is None and call.x.dtype not in autocast.HALF_DTYPES:
            outputs = self._run(call, bool(return_gates))
        else:
            outputs = self._run_in_compute_dtype(call, bool(return_gates))
        out, state, gates = as_returned(call, outputs, self._states)
        return (out, state, gates) if return_gates else (out, state)

    def step(self, input: Tensor, hx: State | None = None) -> tuple[Tensor, State]:
        """One step of a stream: what `forward` gives for one time step, without the time dimension.

        Args:
            input: (B, I), or (I,) for one stream.
            hx: the state that the previous step returned, None for the first step.

        Returns:
            out (B, R), or (R,); and the state to pass to the next step.

        Raises:
            ValueError: the layer is bidirectional, so that it would need the steps to come.

        >>> from longspan.nn import GRU
        >>> layer, state = GRU(3, 4), None
        >>> for reading in torch.randn(6, 2, 3):
        ...     out, state = layer.step(reading, state)
        """
        if hx is not None and not is_compiling():
            own = self.__dict__  # an attribute of a Module takes three times as long
            if own["_stream"] is not None and _is_plain(own):
                result = own["_stream"].step(own["_parameters"], input, hx)
                if result is not None:
                    return result
        inputs.check_step(input, self.input_size, bidirectional=self.bidirectional)
        time = 1 if self.batch_first and input.dim() == 2 else 0
        out, state = self(input.unsqueeze(time), hx)
        return out.squeeze(time), state

    def token_step(self) -> SingleStep | None:
        """The compiled step of a single layer whose states are (B, H); None where the ordinary call runs."""
        if self._stream is None or self.num_layers > 1 or not _is_plain(self.__dict__):
            return None
        if self._layer_stream is None:
            self._layer_stream = self._stream.unlayered()
        return self._layer_stream

    def jobs(
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        return_gates: bool = False,
    ) -> list[Job]:
        """The arguments of the kernels (`longspan.kernels.job.Job`) for every layer; nothing is computed.

        The arguments are those of `forward`. The input of a layer above the first is zeros of its shape. The
        state of torch's random generators stays as it is.
        """
        call = in_compute_dtype(self._call(input, hx, lengths, mask, reset))
        x, jobs = call.x, []
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            for layer in range(self.num_layers):
                jobs.append(self._job(layer, x, call, return_gates))
                x = x.new_zeros(x.shape[0], x.shape[1], self._directions * self._states.widths[layer][0])
        return jobs

    def _call(
        self, x: Tensor | PackedSequence, state: State | None, lengths: object, mask: object, reset: object
    ) -> Call:
        marks = lengths, mask, reset
        return new_call(x, state, marks, self._weights.weights(self), self._states, self.batch_first)

    def _run(self, call: Call, with_gates: bool) -> StackOutputs:
        x, states, gates = call.x, [], []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout:
                x = torch.dropout(x, self.dropout, True)
            result = kernels.run(self._job(layer, x, call, with_gates))
            x = result.out
            states.append(result.state)
            if result.gates is not None:
                gates += result.gates
        return StackOutputs(x, states, gates)

    def _job(self, layer: int, x: Tensor, call: Call, with_gates: bool) -> Job:
        """The kernels' job of one layer; recurrent dropout is that of Gal & Ghahramani 2016, section 4."""
        weights, (lengths, mask, reset) = call.weights[layer], call.info
        if self.weight_dropout and self.training:
            weights = tuple(
                dropout_masks.drop_connect(direction, self.weight_dropout) for direction in weights
            )
        drop, zone, widths = None, None, self._states.widths[layer]
        if self.recurrent_dropout and self.training:  # one mask a sequence on h_{t-1}
            rows = (self._directions, x.shape[1], widths[0])
            drop = dropout_masks.dropout_mask(rows, self.recurrent_dropout, x)
        if any(self.zoneout):
            shapes = [(self._directions, x.shape[0], x.shape[1], width) for width in widths]
            zone = dropout_masks.zoneouts(self.zoneout, shapes, x.device, self.training)
        return Job(self.cell, x, call.states[layer], weights, lengths, mask, reset, drop, zone, with_gates)

    def _run_in_compute_dtype(self, call: Call, with_gates: bool) -> StackOutputs:
        """Compute without autocast (see autocast.compute_dtype); the outputs have the dtypes of torch.nn."""
        first, rest = self._dtypes(call)
        with torch.autocast(call.x.device.type, enabled=False):
            outputs = self._run(in_compute_dtype(call), with_gates)
        return outputs.to(first, rest)

    def _dtypes(self, call: Call) -> tuple[torch.dtype, torch.dtype]:
        """The dtype of the output and h, and that of the other states."""
        if call.half is None:
            return call.x.dtype, call.x.dtype
        promoted = autocast.promoted_dtype(call.half, [call.x, *call.states[0]])
        return self._autocast_dtypes(call.half, promoted, call)

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: Call
    ) -> tuple[torch.dtype, torch.dtype]:
        return promoted, promoted

    def extra_repr(self) -> str:
        return ", ".join([f"{self.input_size}, {self.hidden_size}", *options.changed(self, self.cell)])


def _is_plain(own: Mapping[str, Any]) -> bool:
    """Whether a step is the cell's equations and nothing else; own: the layer's attributes."""
    return (
        own["zoneout"] is own["_no_zoneout"]
        and not (own["training"] and (own["dropout"] or own["recurrent_dropout"] or own["weight_dropout"]))
        and not (own["_forward_hooks"] or own["_forward_pre_hooks"])
    )
