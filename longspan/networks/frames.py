"""The convolutional network of frames and pictures: a grid of features, or one vector a frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.nn.dropout import Dropout
from longspan.nn.linear import Linear

_FIRST_FILTERS, _MOST_FILTERS = 16, 128  # channels of the first stage; doubled a stage up to the most
_CHUNK = 512  # frames that pass through a network at once where no gradients are kept
_MOST_CELLS = 8  # cells a side of the grid that a found number of stages leaves


class _Stage(nn.Module):
    """A strided convolution that halves both sides, and a residual one (He et al. 2015, arXiv 1512.03385).

    Args:
        channels, filters: of the input and of the output.
        first: whether the frames come in; the convolution is then wider and stands alone, for speed.
    """

    def __init__(self, channels: int, filters: int, *, first: bool) -> None:
        super().__init__()
        size = 5 if first else 3
        self.down = nn.Conv2d(channels, filters, size, stride=2, padding=size // 2, bias=False)
        self.down_norm = nn.BatchNorm2d(filters)
        self.same = None if first else nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.same_norm = None if first else nn.BatchNorm2d(filters)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down_norm(self.down(x)).relu()
        if self.same is None or self.same_norm is None:
            return x
        return (x + self.same_norm(self.same(x))).relu()


class FrameGrid(nn.Module):
    """Reads frames (N, C, H, W) and gives a grid of features (N, cells, F), row by row.

    Every stage halves height and width, rounded up.

    Args:
        channels: C, 1 for grey frames or 3 for coloured ones.
        size: H and W.
        filters: channels of each stage; None for stages until the grid has 8 cells a side at most, with 16
            channels, twice as many a stage, and 128 at most.

    Attributes:
        shape: rows and columns of the grid.
        output_size: F.

    >>> grid = FrameGrid(3, (64, 48))
    >>> grid.shape, grid(torch.zeros(2, 3, 64, 48)).shape
    ((8, 6), torch.Size([2, 48, 64]))
    """

    def __init__(self, channels: int, size: tuple[int, int], filters: Sequence[int] | None = None) -> None:
        super().__init__()
        height, width = size
        widths = found_filters(size) if filters is None else list(filters)
        self.stages = nn.Sequential(
            *(_Stage(*pair, first=n == 0) for n, pair in enumerate(pairwise([channels, *widths])))
        )
        self.stages.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        for _ in widths:
            height, width = (height + 1) // 2, (width + 1) // 2
        self.shape, self.output_size = (height, width), widths[-1]

    def forward(self, frames: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, cells, F)."""
        return self.maps(frames).flatten(2).transpose(1, 2)

    def maps(self, frames: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, F, rows, columns), in memory with the channels last, which is faster."""
        return self.stages(frames.contiguous(memory_format=torch.channels_last))


class FrameNet(nn.Module):
    """Reads frames (N, C, H, W) and gives a vector (N, F) a frame: where things are in it, and what they are.

    Half of the vector is a projection of the whole grid, half of the largest value of each of its channels.

    Args:
        channels, size, filters: as for `FrameGrid`.
        output_size: F.
        dropout: rate on the vector, in training.

    >>> FrameNet(1, (32, 32), 24)(torch.zeros(5, 1, 32, 32)).shape
    torch.Size([5, 24])
    """

    def __init__(
        self,
        channels: int,
        size: tuple[int, int],
        output_size: int = 128,
        *,
        filters: Sequence[int] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.grid = FrameGrid(channels, size, filters)
        rows, columns = self.grid.shape
        self.place = Linear(self.grid.output_size * rows * columns, output_size - output_size // 2)
        self.content = Linear(self.grid.output_size, output_size // 2)
        self.norm = nn.LayerNorm(output_size)
        self.drop = Dropout(dropout)
        self.output_size = output_size

    def forward(self, frames: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, F)."""
        maps = self.grid.maps(frames)
        vector = torch.cat([self.place(maps.flatten(1)), self.content(maps.amax((2, 3)))], 1)
        return self.drop(self.norm(vector).relu())


def found_filters(size: tuple[int, int]) -> list[int]:
    """The channels of the stages for frames of a size (H, W), where none are given.

    Raises:
        ValueError: a frame is too small to have a stage.

    >>> found_filters((64, 64)), found_filters((112, 112))
    ([16, 32, 64], [16, 32, 64, 128])
    """
    side = max(size)
    errors.check_int("size", min(size), 2, "give frames of at least 2 pixels a side")
    filters = [_FIRST_FILTERS]
    while -(-side // 2 ** len(filters)) > _MOST_CELLS:
        filters.append(min(_MOST_FILTERS, 2 * filters[-1]))
    return filters


def of_real_frames(network: Callable[[Tensor], Tensor], x: Tensor, lengths: Tensor | None) -> Tensor:
    """What a network of frames (N, ...) -> (N, ...) says about clips, computed for their real frames alone.

    Without gradients the frames pass in chunks of 512, which bounds the memory of long clips.

    Args:
        network: such as a `FrameNet`.
        x: (B, T, C, H, W); lengths: (B,) int64, the real frames of each clip; None where all are.

    Returns:
        (B, T, ...), zeros behind each clip's last frame.
    """
    clips, steps = x.shape[:2]
    if lengths is None or int(lengths.min()) == steps:
        return _in_chunks(network, x.flatten(0, 1)).unflatten(0, (clips, steps))
    real = torch.arange(steps, device=x.device) < lengths.to(x.device).unsqueeze(1)
    features = _in_chunks(network, x[real])
    return features.new_zeros(clips, steps, *features.shape[1:]).index_put((real,), features)


def _in_chunks(network: Callable[[Tensor], Tensor], frames: Tensor) -> Tensor:
    if torch.is_grad_enabled() or len(frames) <= _CHUNK:
        return network(frames)
    return torch.cat([network(part) for part in frames.split(_CHUNK)])
