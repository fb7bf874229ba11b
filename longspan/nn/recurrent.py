"""The recurrent layers over whole sequences: LSTM, GRU, RNN as in torch.nn, and Recurrent for any cell."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from typing_extensions import Unpack

from longspan.cells import Cell

from . import options
from .base import RNNBase
from .call import Call
from .options import RecurrentOptions, show_options

__all__ = ["GRU", "LSTM", "RNN", "Recurrent"]


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
        layer_norm (False): normalise W x, R h and the cell state before it is read (Ba et al. 2016,
            equations 20 to 22); adds norm_x_l*, norm_r_l* (G*H,), norm_c_l* and norm_c_bias_l* (H,),
            starting as ones and zeros.
        recurrent_dropout (0.0): rate of dropout on h_{t-1} in training, one mask a sequence (Gal &
            Ghahramani 2016); drawn anew at every call, so for every step of a stream.
        zoneout (0.0): probability that a unit keeps its past value at a step, or one number a state; at
            inference the expectation (Krueger et al. 2017).
        weight_dropout (0.0): rate of DropConnect on weight_hh in training, one mask a call (Merity et al.
            2018).
        forget_bias (None): initial value of the forget gate's bias, the sum of b_ih and b_hh; None leaves it
            as drawn (Jozefowicz et al. 2015 use 1).

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

    mode = "LSTM"

    @show_options
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
        **extra: Unpack[RecurrentOptions],
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
            **extra,
        )

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: Call
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

    mode = "GRU"

    @show_options
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
        **extra: Unpack[RecurrentOptions],
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
            **extra,
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

    @show_options
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
        **extra: Unpack[RecurrentOptions],
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
            **extra,
        )
        self.nonlinearity = nonlinearity
        self.mode = f"RNN_{nonlinearity.upper()}"

    def _autocast_dtypes(
        self, half: torch.dtype, promoted: torch.dtype, call: Call
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

    @show_options
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
        **extra: Unpack[RecurrentOptions],
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
            **extra,
        )

    def extra_repr(self) -> str:
        return f"{self.cell.name}, {super().extra_repr()}"
