"""The convolutional LSTM over frames, and the padding that "same" and "causal" add around an input."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn import functional as F

from longspan import errors
from longspan.cells import CELLS, Cell, Values

from . import dropout

State = tuple[Tensor, Tensor]
_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def output_length(size: int | None, window: int, stride: int, padding: str) -> int | None:
    """The number of positions of a window over `size` values; None where `size` is None.

    >>> output_length(5, 2, 2, "valid"), output_length(5, 2, 2, "same")
    (2, 3)
    """
    if size is None:
        return None
    return -(-size // stride) if padding != "valid" else (size - window) // stride + 1


def pad_widths(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    """The values to pad before and after: TensorFlow's rule for "same", all before for "causal"."""
    if padding == "valid":
        return 0, 0
    if padding == "causal":
        return window - 1, 0
    total = max((-(-size // stride) - 1) * stride + window - size, 0)
    return total // 2, total - total // 2


def pad_input(
    x: Tensor, windows: Sequence[int], strides: Sequence[int], padding: str, value: float = 0.0
) -> Tensor:
    """x (B, C, …) padded with `value` as `padding` says."""
    pads: list[int] = []
    for size, window, stride in reversed(list(zip(x.shape[2:], windows, strides, strict=True))):
        pads += pad_widths(size, window, stride, padding)
    return F.pad(x, pads, value=value) if any(pads) else x


class ConvLSTM(nn.Module):
    """An LSTM whose products with W and R are convolutions, over frames (B, T, C, Y, X).

    Shi et al. 2015, arXiv 1506.04214, equation 3 without peepholes, the form of Keras. The cell gives the
    equations. The layer runs as plain PyTorch operations, the input's convolutions of all frames in one call.

    Args:
        input_size: C, channels of a frame.
        hidden_size: F, channels of the state.
        kernel_size, stride, dilation: of the input's convolution, (height, width), one number for rows of
            values or three for volumes; R's has the same kernel, stride 1 and "same" padding.
        padding: "same" or "valid" around the input.
        bias: whether the gates have a bias.
        cell: a cell with the gates i, f, g, o and the states h, c.
        recurrent_dropout: rate of dropout on h_{t-1} in training, one mask a sequence.

    Parameters: weight_ih (4*F, C, K, K), weight_hh (4*F, F, K, K), bias_ih (4*F,), gate order i, f, g, o.

    Raises:
        ValueError: an argument is out of range; the sentence names it.

    >>> out, (h, c) = ConvLSTM(3, 4, (3, 3))(torch.zeros(2, 5, 3, 8, 8))
    >>> out.shape, h.shape
    (torch.Size([2, 5, 4, 8, 8]), torch.Size([2, 4, 8, 8]))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        kernel_size: tuple[int, ...],
        *,
        stride: tuple[int, ...] | None = None,
        dilation: tuple[int, ...] | None = None,
        padding: str = "same",
        bias: bool = True,
        cell: Cell = CELLS["lstm"],
        recurrent_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.input_size = errors.check_int("input_size", input_size, 1, "give the number of channels")
        self.hidden_size = errors.check_int("hidden_size", hidden_size, 1, "give the number of channels")
        ones = (1,) * len(kernel_size)
        self.kernel_size, self.stride, self.dilation = kernel_size, stride or ones, dilation or ones
        self.padding = errors.check_choice("padding", padding, ("same", "valid"))
        self.cell = cell
        self.recurrent_dropout = errors.check_fraction("recurrent_dropout", recurrent_dropout, below_one=True)
        wide = len(cell.gates) * hidden_size
        self.weight_ih = Parameter(torch.empty(wide, input_size, *kernel_size))
        self.weight_hh = Parameter(torch.empty(wide, hidden_size, *kernel_size))
        self.bias_ih = Parameter(torch.empty(wide)) if bias else None
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw every parameter afresh, uniform in (-1/sqrt(n), 1/sqrt(n)), n = C * K * K."""
        bound = (self.weight_ih[0].numel()) ** -0.5
        for parameter in self.parameters():
            parameter.uniform_(-bound, bound)

    def forward(
        self, x: Tensor, state: State | None = None, *, mask: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Run whole sequences.

        Args:
            x: (B, T, C, Y, X).
            state: h and c, each (B, F, Y', X'); None: zeros.
            mask: (B, T) bool, False where a frame is skipped and the state carried.

        Returns:
            out: (B, T, F, Y', X') and the last state.

        Raises:
            ValueError: the shape of x is another.
        """
        rank = len(self.kernel_size)
        if x.dim() != rank + 3 or x.shape[2] != self.input_size:
            letters = ", ".join("ZYX"[-rank:])
            expected, way_out = (
                f"frames (B, T, {self.input_size}, {letters})",
                "channels come before the pixels",
            )
            raise errors.value_error("input", expected, tuple(x.shape), way_out)
        wide = self._convolve_inputs(x)
        pixels = (x.shape[0], self.hidden_size, *wide.shape[3:])
        h, c = (x.new_zeros(pixels), x.new_zeros(pixels)) if state is None else state
        drop = (
            dropout.dropout_mask(pixels, self.recurrent_dropout, x)
            if self.training and self.recurrent_dropout
            else None
        )
        outs: list[Tensor] = []
        for t, step in enumerate(wide.unbind(1)):
            new_h, new_c = self._step(step, h if drop is None else h * drop, h, c)
            if mask is not None:
                seen = mask[:, t].view(-1, *[1] * (rank + 1))
                new_h, new_c = torch.where(seen, new_h, h), torch.where(seen, new_c, c)
            h, c = new_h, new_c
            outs.append(h)
        return torch.stack(outs, 1), (h, c)

    def _convolve_inputs(self, x: Tensor) -> Tensor:
        """W * x + b of all frames, (B, T, G*F, Y', X')."""
        windows = [(size - 1) * gap + 1 for size, gap in zip(self.kernel_size, self.dilation, strict=True)]
        frames = pad_input(x.flatten(0, 1), windows, self.stride, self.padding)
        convolve = _CONVOLVE[len(self.kernel_size)]
        wide = convolve(frames, self.weight_ih, self.bias_ih, self.stride, 0, self.dilation)
        return wide.unflatten(0, x.shape[:2])

    def _step(self, x: Tensor, read: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        ones = (1,) * len(self.kernel_size)
        r = _CONVOLVE[len(ones)](pad_input(read, self.kernel_size, ones, "same"), self.weight_hh)
        gates = self.cell.gates
        by_gate = {
            role: Values(role, dict(zip(gates, wide.chunk(len(gates), 1), strict=True)))
            for role, wide in (("x", x), ("r", r))
        }
        h, c = self.cell(by_gate["x"], by_gate["r"], Values("s", {"h": h, "c": c}), Values("p", {}))
        return h, c
