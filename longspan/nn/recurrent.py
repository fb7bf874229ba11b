"""Knows weights, stacks, directions and state of recurrent layers over whole sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.compiler import is_compiling
from torch.nn import Module
from torch.nn.utils.rnn import PackedSequence

from longspan import errors, kernels
from longspan.cells import Cell
from longspan.kernels.job import Job, Weights, Zoneout
from longspan.kernels.single_step import SingleStep

from . import autocast, inputs, options, parameters
from . import dropout as dropout_masks
from .state import LayerStates, State, StateLayout

_RANKS = (3, 2)
_LAYOUTS = {False: ("(T, B, I)", "(T, I)"), True: ("(B, T, I)", "(T, I)")}


class _Call(NamedTuple):
    """One forward pass, laid out by time.

    x: (T, B, I); states: per layer, per state (D, B, W); weights: per layer, per direction; half: autocast's
    dtype where it is on; batched: whether the caller's input had a batch; packed and places: see
    inputs.unpack.
    """

    x: Tensor
    states: LayerStates
    weights: Sequence[tuple[Weights, ...]]
    info: inputs.SequenceInfo
    half: torch.dtype | None
    batched: bool
    packed: PackedSequence | None
    places: Tensor | None


class _Outputs(NamedTuple):
    """What a stack gives: out (T, B, D*R), states as in _Call, gates as in forward."""

    out: Tensor
    states: LayerStates
    gates: list[dict[str, Tensor]]


class RNNBase(Module):
    """Any recurrent layer: num_layers stacked cells in one or two directions. Abstract; see LSTM."""

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
        layer_norm: bool,
        recurrent_dropout: float,
        zoneout: float | Sequence[float],
        weight_dropout: float,
        forget_bias: float | None,
    ) -> None:
        super().__init__()
        self.cell = options.resolve_cell(cell)
        self.input_size = errors.check_int("input_size", input_size, 1, "give the number of values a step")
        self.hidden_sizes = options.hidden_sizes(hidden_size, num_layers)
        self.hidden_size = self.hidden_sizes if isinstance(hidden_size, Sequence) else self.hidden_sizes[0]
        self.num_layers = len(self.hidden_sizes)
        self.bias = errors.check_bool("bias", bias)
        self.batch_first = errors.check_bool("batch_first", batch_first)
        self.dropout = options.check_layer_dropout(dropout, self.num_layers)
        self.bidirectional = errors.check_bool("bidirectional", bidirectional)
        self.proj_size = options.check_proj_size(proj_size, self.cell, self.hidden_sizes)
        self.layer_norm = errors.check_bool("layer_norm", layer_norm)
        self.recurrent_dropout = options.check_recurrent_rate(
            "recurrent_dropout", recurrent_dropout, self.cell
        )
        self.zoneout = options.zoneout_rates(zoneout, self.cell)
        self.weight_dropout = options.check_recurrent_rate("weight_dropout", weight_dropout, self.cell)
        self.forget_bias = options.check_forget_bias(forget_bias, self.cell, self.bias)
        self._directions = 2 if self.bidirectional else 1
        self._weights = self._table(device, options.check_floating(dtype))
        self._states = StateLayout(
            self.cell,
            self.hidden_sizes,
            self.proj_size,
            self._directions,
            by_layer=isinstance(self.hidden_size, tuple),
        )
        unlike = (
            self.bidirectional or self.proj_size or self.layer_norm or isinstance(self.hidden_size, tuple)
        )
        self._no_zoneout = None if any(self.zoneout) else self.zoneout
        self._stream = None
        if not unlike:
            fields = [list(row) for row in self._weights.rows]
            self._stream = SingleStep(self.cell, self.input_size, self.hidden_sizes[0], fields, layered=True)
        self.reset_parameters()

    def _table(
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
        """Draw every parameter afresh, as torch.nn does: the same seed gives the same numbers."""
        for place, fields in enumerate(self._weights.fields(self)):
            hidden = self.hidden_sizes[place // self._directions]
            parameters.initialise(fields, self.cell, hidden, self.forget_bias)

    @property
    def all_weights(self) -> list[list[Tensor]]:
        """The parameters, one list a layer and direction, in torch.nn's order."""
        return [list(fields.values()) for fields in self._weights.fields(self)]

    def flatten_parameters(self) -> None:
        """Nothing: kept for scripts written for torch.nn, where it arranges memory for cuDNN."""

    def forward(
        self,
        x: Tensor | PackedSequence,
        state: State | None = None,
        *,
        lengths: Sequence[int] | Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | None = None,
        return_gates: bool = False,
    ) -> tuple[Any, ...]:
        """Run the layer over whole sequences.

        Args:
            x: (T, B, I), or (B, T, I) with batch_first; (T, I) for one sequence; or a PackedSequence.
            state: the state to start from, as a call returned it: (L*D, B, R) for h and (L*D, B, H) for the
                others, a tuple of them where the cell has several; without B for one sequence. None: the
                cell's constants (zeros).
            lengths: (B,) whole numbers, 0 to T: the real steps of each row. Beyond them nothing happens and
                the output is exactly 0.
            mask: bool, (T, B) or (B, T) with batch_first, (T,) for one sequence: where False the state is
                carried unchanged and the output is the carried h.
            reset: bool, shaped like mask: where True the row starts afresh before that step.
            return_gates: also return the value of every gate and state.

        Returns:
            out: (T, B, D*R), laid out as x came, a PackedSequence for one.
            state: the state after every row's last step, shaped as torch.nn does; where hidden_size has one
                number a layer, each state is a tuple of one (D, B, H) tensor a layer.
            gates, with return_gates: a list, element `layer * D + direction` a dict from each gate letter and
                state name to (B, T, H), (B, T, R) for h, whatever batch_first says; (T, H) for one sequence.
                0 at padding.

        Raises:
            ValueError, TypeError: an argument does not fit; the sentence names it.
            RuntimeError: the backend forced by `longspan.use_backend` refuses.

        >>> layer = LSTM(3, 4, batch_first=True)
        >>> out, (h, c) = layer(torch.randn(2, 5, 3), lengths=[5, 2])
        >>> out.shape, h.shape
        (torch.Size([2, 5, 4]), torch.Size([1, 2, 4]))
        """
        call = self._call(x, state, lengths, mask, reset)
        if call.half is None and call.x.dtype not in autocast.HALF_DTYPES:
            found = self._run(call, return_gates)
        else:
            found = self._run_in_compute_dtype(call, return_gates)
        return self._for_caller(call, found, return_gates)

    def step(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One step of a stream: what `forward` gives for one time step, without the time dimension.

        Args:
            x: (B, I), or (I,) for one stream.
            state: the state that the last step returned, None at first.

        Returns:
            out (B, R), or (R,); and the state to hand to the next step.

        Raises:
            ValueError: the layer is bidirectional, and the future has not come yet.

        >>> layer, state = GRU(3, 4), None
        >>> for reading in torch.randn(6, 2, 3):
        ...     out, state = layer.step(reading, state)
        """
        if (
            self._stream is not None
            and state is not None
            and not is_compiling()
            and self.zoneout is self._no_zoneout
            and not (self.training and (self.dropout or self.recurrent_dropout or self.weight_dropout))
            and not (self._forward_hooks or self._forward_pre_hooks)
        ):
            found = self._stream.step(self._parameters, x, state)
            if found is not None:
                return found
        if self.bidirectional:
            expected = "a layer of one direction, since the other begins at the end of a sequence"
            raise errors.value_error(
                "step", expected, "bidirectional=True", "call the layer on whole sequences"
            )
        if not isinstance(x, Tensor) or x.dim() not in (1, 2):
            received = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            expected = f"a tensor of shape (B, {self.input_size}) or ({self.input_size},)"
            raise errors.value_error(
                "input of step", expected, received, "call the layer itself on whole sequences"
            )
        time = 1 if self.batch_first and x.dim() == 2 else 0
        out, new = self(x.unsqueeze(time), state)
        return out.squeeze(time), new

    def _call(
        self, x: Tensor | PackedSequence, state: State | None, lengths: object, mask: object, reset: object
    ) -> _Call:
        if isinstance(x, PackedSequence):
            return self._packed_call(x, state, lengths, mask, reset)
        if not isinstance(x, Tensor):
            raise errors.type_error(
                "input", "a tensor or a PackedSequence", x, "convert it with torch.as_tensor"
            )
        weights = self._weights.weights(self)
        half = autocast.autocast_dtype(x)
        inputs.check_values(x, weights[0][0].x, _RANKS, _LAYOUTS[self.batch_first], half)
        batched = x.dim() == 3
        rows = x if batched else x.unsqueeze(1)
        if batched and self.batch_first:
            rows = x.transpose(0, 1)
        inputs.check_steps(rows)
        info = inputs.NO_SEQUENCE_INFO
        if lengths is not None or mask is not None or reset is not None:
            info = inputs.sequence_info(
                rows, lengths, mask, reset, batched=batched, batch_first=self.batch_first
            )
        states = (
            self._states.initial(rows) if state is None else self._states.checked(state, rows, half, batched)
        )
        return _Call(rows, states, weights, info, half, batched, None, None)

    def _packed_call(
        self, packed: PackedSequence, state: State | None, lengths: object, mask: object, reset: object
    ) -> _Call:
        if lengths is not None:
            expected = "None, since a PackedSequence has its own"
            raise errors.value_error(
                "lengths", expected, "a value", "leave lengths out, or pass the padded tensor"
            )
        weights = self._weights.weights(self)
        half = autocast.autocast_dtype(packed.data)
        inputs.check_values(packed.data, weights[0][0].x, (2,), ("(N, I)",), half)
        x, real, places = inputs.unpack(packed)
        info = inputs.sequence_info(x, None, mask, reset, batched=True, batch_first=self.batch_first)
        states = (
            self._states.initial(x) if state is None else self._states.checked(state, x, half, batched=True)
        )
        order = packed.sorted_indices
        if order is not None:
            info = inputs.SequenceInfo(
                None, *(m if m is None else m.index_select(1, order) for m in info[1:])
            )
            states = [tuple(tensor.index_select(1, order) for tensor in layer) for layer in states]
        return _Call(x, states, weights, info._replace(lengths=real), half, True, packed, places)

    def _run(self, call: _Call, gates: bool) -> _Outputs:
        x, states, found = call.x, [], []
        for layer in range(self.num_layers):
            if layer and self.training and self.dropout:
                x = torch.dropout(x, self.dropout, True)
            result = kernels.run(self._job(layer, x, call, gates))
            x = result.out
            states.append(result.state)
            if result.gates is not None:
                found += result.gates
        return _Outputs(x, states, found)

    def _job(self, layer: int, x: Tensor, call: _Call, gates: bool) -> Job:
        weights, (lengths, mask, reset) = call.weights[layer], call.info
        if self.weight_dropout and self.training:
            weights = tuple(_drop_connect(one, self.weight_dropout) for one in weights)
        drop = self._dropout_mask(layer, x) if self.recurrent_dropout and self.training else None
        zone = self._zoneout(layer, x) if any(self.zoneout) else None
        return Job(self.cell, x, call.states[layer], weights, lengths, mask, reset, drop, zone, gates)

    def _dropout_mask(self, layer: int, x: Tensor) -> Tensor:
        """(D, B, R): one mask a sequence on h_{t-1} (Gal & Ghahramani 2016, section 4)."""
        return dropout_masks.dropout_mask(
            (self._directions, x.shape[1], self._states.widths[layer][0]), self.recurrent_dropout, x
        )

    def _zoneout(self, layer: int, x: Tensor) -> tuple[Zoneout | None, ...]:
        """Per state: which values keep their past (Krueger et al. 2017); the rate in evaluation."""
        zones: list[Zoneout | None] = []
        for rate, width in zip(self.zoneout, self._states.widths[layer], strict=True):
            shape = (self._directions, x.shape[0], x.shape[1], width)
            mask = dropout_masks.bernoulli_mask(shape, rate, x.device) if self.training and rate else None
            zones.append(Zoneout(rate, mask) if rate else None)
        return tuple(zones)

    def _for_caller(self, call: _Call, found: _Outputs, gates: bool) -> tuple[Any, ...]:
        """Torch's shapes and the caller's order of rows."""
        out, states, values = found
        if call.packed is not None:
            out = inputs.repack(out, call.packed, call.places)
            order = call.packed.unsorted_indices
            if order is not None:
                states = [tuple(tensor.index_select(1, order) for tensor in layer) for layer in states]
                values = [{k: v.index_select(0, order) for k, v in one.items()} for one in values]
        elif not call.batched:
            out = out.squeeze(1)
            values = [{k: v.squeeze(0) for k, v in one.items()} for one in values]
        elif self.batch_first:
            out = out.transpose(0, 1)
        state = self._states.for_caller(states, call.batched)
        return (out, state, values) if gates else (out, state)

    def _run_in_compute_dtype(self, call: _Call, gates: bool) -> _Outputs:
        """Compute without autocast (see autocast.compute_dtype); give back the dtypes that torch.nn would."""
        first, rest = self._dtypes(call)
        with torch.autocast(call.x.device.type, enabled=False):
            out, states, values = self._run(_in_compute_dtype(call), gates)
        kept = [(h.to(first), *(s.to(rest) for s in others)) for h, *others in states]
        return _Outputs(out.to(first), kept, [{k: v.to(first) for k, v in one.items()} for one in values])

    def _dtypes(self, call: _Call) -> tuple[torch.dtype, torch.dtype]:
        """The dtype of the output and h, and that of the other states."""
        if call.half is None:
            return call.x.dtype, call.x.dtype
        promoted = autocast.promoted_dtype(call.half, [call.x, *call.states[0]])
        return self._autocast_dtypes(call.half, promoted, call)

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: _Call
    ) -> tuple[torch.dtype, torch.dtype]:
        return promoted, promoted

    def _explained(self, call: _Call, gates: bool) -> str:
        """Kernels.explain for every layer; a layer above the first reads zeros of the right shape."""
        x, lines = call.x, []
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            for layer in range(self.num_layers):
                lines.append(f"layer {layer}: {kernels.explain(self._job(layer, x, call, gates))}")
                x = x.new_zeros(x.shape[0], x.shape[1], self._directions * self._states.widths[layer][0])
        return "\n".join(lines)

    def extra_repr(self) -> str:
        sizes = f"{self.input_size}, {self.hidden_size}"
        plain = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        ours = {"layer_norm": False, "recurrent_dropout": 0.0, "weight_dropout": 0.0, "forget_bias": None}
        zones = (0.0,) * len(self.cell.states)
        shown = {"proj_size": 0, **plain, **ours, "zoneout": zones}
        changed = [
            f"{name}={getattr(self, name)}" for name, usual in shown.items() if getattr(self, name) != usual
        ]
        return ", ".join([sizes, *changed])


def _drop_connect(weights: Weights, rate: float) -> Weights:
    """DropConnect on R, once a forward pass (Merity et al. 2018, section 2)."""
    return weights if weights.r is None else replace(weights, r=torch.dropout(weights.r, rate, True))


def _in_compute_dtype(call: _Call) -> _Call:
    x, states, weights = autocast.to_compute_dtype(call.x, call.states, call.weights, call.half)
    return call._replace(x=x, states=states, weights=weights)


class LSTM(RNNBase):
    """Long short-term memory: torch.nn.LSTM's arguments, parameters and numbers, and options beside them.

    Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000; the equations are
    `longspan.cells.lstm`. A `state_dict` goes to torch.nn.LSTM and back as long as the options after `dtype`
    that add parameters are off.

    Args:
        input_size: I, values a step.
        hidden_size: H, units; or a sequence with one number a layer (num_layers follows from it).
        num_layers: L, layers stacked, each reading the outputs of the one below.
        bias: whether the gates have biases b_ih and b_hh.
        batch_first: (B, T, I) instead of (T, B, I) for input, output, mask and reset; never for states.
        dropout: rate of dropout on the outputs of every layer but the last, in training.
        bidirectional: D = 2 directions instead of 1; outputs are side by side, (…, 2*R).
        proj_size: R, the size that h is projected to; 0 for none, R = H (Sak et al. 2014, arXiv 1402.1128).
        device, dtype: of the parameters.
        layer_norm: normalise W x, R h and the cell state before it is read (Ba et al. 2016, equations 20 to
            22); adds norm_x_l*, norm_r_l* (G*H,), norm_c_l* and norm_c_bias_l* (H,), starting as ones and
            zeros.
        recurrent_dropout: rate of dropout on h_{t-1} in training, one mask a sequence (Gal & Ghahramani
            2016); drawn anew at every call, so for every step of a stream.
        zoneout: chance of a unit to keep its past value at a step, or one number a state; at inference the
            expectation (Krueger et al. 2017).
        weight_dropout: rate of DropConnect on weight_hh in training, one mask a call (Merity et al. 2018).
        forget_bias: where the forget gate's bias starts, the sum of b_ih and b_hh; None leaves it as drawn
            (Jozefowicz et al. 2015 use 1).

    Parameters, for layer k and with the suffix `_reverse` for the second direction: weight_ih_l{k} (4*H, I or
    D*R), weight_hh_l{k} (4*H, R), bias_ih_l{k} and bias_hh_l{k} (4*H,), weight_hr_l{k} (R, H) with proj_size.
    Gate order i, f, g, o. They start uniform in (-1/sqrt(H), 1/sqrt(H)).

    Raises:
        ValueError, TypeError: an argument is out of range or does not suit the cell; the sentence names it.

    >>> layer = LSTM(3, 4, num_layers=2, recurrent_dropout=0.2, forget_bias=1.0)
    >>> out, (h, c) = layer(torch.randn(5, 2, 3))
    >>> out.shape, h.shape, c.shape
    (torch.Size([5, 2, 4]), torch.Size([2, 2, 4]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            "lstm",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            layer_norm,
            recurrent_dropout,
            zoneout,
            weight_dropout,
            forget_bias,
        )

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: _Call
    ) -> tuple[torch.dtype, torch.dtype]:
        # torch.nn's LSTM runs on oneDNN where it can, which stays in autocast's dtype, as a projection does.
        if self.proj_size:
            return half, promoted
        on_onednn = torch.backends.mkldnn.enabled and call.packed is None
        on_onednn = on_onednn and call.x.dtype in (torch.float32, half)
        return (half, half) if on_onednn else (promoted, promoted)


class GRU(RNNBase):
    """Gated recurrent unit: torch.nn.GRU's arguments, parameters and numbers, and options beside them.

    Cho et al. 2014 in cuDNN's form, the reset gate after the product with R; see `longspan.cells.gru` for the
    equations. Arguments, shapes, parameters and errors are those of `LSTM` but for proj_size, which this cell
    cannot have; 3 gates in the order r, z, n; one state h, so the state is one tensor.

    >>> out, h = GRU(3, 4, bidirectional=True)(torch.randn(5, 2, 3))
    >>> out.shape, h.shape
    (torch.Size([5, 2, 8]), torch.Size([2, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            "gru",
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            layer_norm,
            recurrent_dropout,
            zoneout,
            weight_dropout,
            forget_bias,
        )


class RNN(RNNBase):
    """Elman network: torch.nn.RNN's arguments, parameters and numbers, and options beside them.

    Elman 1990; see `longspan.cells.rnn` for the equation. Arguments, shapes, parameters and errors are those
    of `LSTM` but for proj_size; one gate n; one state h, so the state is one tensor.

    Args:
        nonlinearity: "tanh" or "relu", the fourth argument as in torch.nn.

    >>> out, h = RNN(3, 4, nonlinearity="relu")(torch.randn(5, 2, 3))
    >>> out.shape, h.shape
    (torch.Size([5, 2, 4]), torch.Size([1, 2, 4]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            options.elman_cell_name(nonlinearity),
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            layer_norm,
            recurrent_dropout,
            zoneout,
            weight_dropout,
            forget_bias,
        )
        self.nonlinearity = nonlinearity

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: _Call
    ) -> tuple[torch.dtype, torch.dtype]:
        return half, half  # torch.nn's RNN is matrix products and an activation, all in autocast's dtype

    def extra_repr(self) -> str:
        shown = super().extra_repr()
        return shown if self.nonlinearity == "tanh" else f"{shown}, nonlinearity={self.nonlinearity}"


class Recurrent(RNNBase):
    """A layer of any cell: one of `longspan.cells.CELLS` by name, or your own under `@longspan.cell`.

    Arguments, shapes and errors are those of `LSTM`; G is the number of the cell's gates, in the order of its
    letters. The state is one tensor for a cell with one state, else a tuple in the order of the cell's
    states. A cell with per-unit extras has the parameter weight_p_l{k} (P, H); one without a recurrent matrix
    has no weight_hh_l{k} and no bias_hh_l{k}.

    Args:
        cell: the name of a cell, or a cell.

    Raises:
        ValueError, TypeError: as for `LSTM`, and when there is no such cell or its step cannot be followed.

    >>> layer = Recurrent("slstm", 3, 4)
    >>> out, (h, c, n, m) = layer(torch.randn(5, 2, 3))
    >>> out.shape
    torch.Size([5, 2, 4])
    """

    def __init__(
        self,
        cell: Cell | str,
        input_size: int,
        hidden_size: int | Sequence[int],
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        layer_norm: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        weight_dropout: float = 0.0,
        forget_bias: float | None = None,
    ) -> None:
        super().__init__(
            cell,
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            layer_norm,
            recurrent_dropout,
            zoneout,
            weight_dropout,
            forget_bias,
        )

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {super().extra_repr()}"


def explain(
    layer: LSTM | GRU | RNN | Recurrent,
    x: Tensor | PackedSequence,
    state: State | None = None,
    *,
    lengths: Sequence[int] | Tensor | None = None,
    mask: Tensor | None = None,
    reset: Tensor | None = None,
    return_gates: bool = False,
) -> str:
    """Which kernel would run `layer(x, ...)`, and why the others would not, in words.

    Args: as for calling the layer. Nothing is computed and no random number is used up.

    Returns:
        For each layer of the stack one sentence on the kernel that would run it, and one for each that would
        not.

    Raises:
        TypeError: `layer` is not a recurrent layer of this library; other errors as for calling it.

    >>> print(explain(LSTM(3, 4), torch.randn(5, 2, 3)).splitlines()[0])  # doctest: +ELLIPSIS
    layer 0: lstm, T=5, B=2, I=3, H=4, one direction, float32 on cpu: ... runs it.
    """
    if not isinstance(layer, RNNBase):
        way_out = "pass the layer itself, such as model.lstm"
        raise errors.type_error("layer", "a recurrent layer of longspan.nn", layer, way_out)
    call = layer._call(x, state, lengths, mask, reset)
    return layer._explained(_in_compute_dtype(call), return_gates)
