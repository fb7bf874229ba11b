"""Transforms series into features of random convolutions: the patterns that occur, and how often."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.padding import RaggedTensor, sequence_mask

_TAPS = 9  # values of a kernel
_THREES = tuple(combinations(range(_TAPS), 3))  # the 84 kernels: weight 2 at three taps, -1 at the others
_MANY = 2_500  # series up to which there are all features: ridge regression takes the cube of their number
_THRESHOLDS, _FEWER_THRESHOLDS = 60, 10  # of each kernel of MiniRocket, over all dilations
_MAX_DILATIONS = 32  # of MiniRocket's kernels
_CHANNELS = 9  # channels that one kernel reads at most
_GROUPS, _FEWER_GROUPS = 32, 6  # of Hydra's kernels, for the series; as many for its differences
_COMPETING = 8  # kernels of a group
_GOLDEN = (math.sqrt(5) + 1) / 2
_CHUNK = 1 << 17  # values of a convolution's output that are computed at once: they stay in the cache
_NOISE = 1e-4  # of the outputs' deviation: larger than rounding, smaller than any difference that matters
_BIAS_SERIES = 84  # training series whose convolutions give the thresholds


class _Dilation(NamedTuple):
    """The kernels of one dilation.

    dilation: steps between two taps; kernels (84, D, 9): weights, 0 for channels that a kernel does not read;
    thresholds (84, Q), in ascending order.
    """

    dilation: int
    kernels: Tensor
    thresholds: Tensor


class _Competition(NamedTuple):
    """Hydra's kernels of one dilation for the series or, with `differenced`, for its first differences.

    dilation: steps between two taps; kernels (G * K, D, 9), G groups of K.
    """

    dilation: int
    differenced: bool
    kernels: Tensor


class RandomConvolutions:
    """Features of series by fixed convolutions: MiniRocket's and Hydra's, in one row.

    MiniRocket (Dempster et al. 2020, arXiv 2012.08791): 84 kernels of nine taps at up to 32 dilations; a
    feature is the share of the steps at which a convolution exceeds a threshold. The thresholds are quantiles
    of the convolutions of training series. Beside each share stands the mean excess at these steps, as in
    MultiRocket (Tan et al. 2021, arXiv 2102.00457). Hydra (Dempster et al. 2022, arXiv 2203.13652): groups of
    eight random kernels compete at every step; the features sum the winners' outputs and count the losers.

    Series may have many channels (each kernel reads a random subset of at most nine) and unequal lengths
    (steps beyond a series' end are never counted).

    Args:
        thresholds: of each of the 84 kernels; groups: of Hydra's kernels.

    >>> _ = torch.manual_seed(0)
    >>> series = [torch.randn(20, 2), torch.randn(15, 2)]
    >>> convolutions = RandomConvolutions().fit(series)
    >>> tuple(convolutions(series).shape) == (2, sum(convolutions.sizes))
    True
    """

    def __init__(self, thresholds: int = _THRESHOLDS, groups: int = _GROUPS) -> None:
        self.thresholds, self.groups = thresholds, groups
        self.dilations: list[_Dilation] = []
        self.competitions: list[_Competition] = []

    @classmethod
    def for_records(cls, count: int) -> RandomConvolutions:
        """Convolutions with as many features as training series of this number allow in time."""
        return cls() if count <= _MANY else cls(_FEWER_THRESHOLDS, _FEWER_GROUPS)

    def fit(self, series: Sequence[Tensor]) -> RandomConvolutions:
        """Draw the kernels from torch's generator, and learn thresholds from series (T_i, D) float32."""
        channels = series[0].shape[1]
        length = sorted(map(len, series))[len(series) // 2]
        self.dilations = list(self._drawn_dilations(series, channels, length))
        self.competitions = [
            _Competition(2**power, differenced, _hydra_kernels(self.groups, channels))
            for power in range(max(1, int(math.log2(max(1, (length - 1) / (_TAPS - 1)))) + 1))
            for differenced in (False, True)
        ]
        return self

    def _drawn_dilations(self, series: Sequence[Tensor], channels: int, length: int) -> Iterator[_Dilation]:
        quantile = 0
        for number, (dilation, count) in enumerate(_dilations(length, self.thresholds)):
            kernels = _minirocket_kernels() * _channel_masks(len(_THREES), channels)
            rows = torch.randperm(len(series))[:_BIAS_SERIES]
            drawn = RaggedTensor([series[row] for row in rows.tolist()])
            x, lengths = drawn.pad(torch.arange(len(rows)))
            out = _convolved(x.transpose(1, 2), kernels, dilation)
            counted = _counted(out.shape, lengths, dilation, number).expand_as(out)
            positions = torch.arange(quantile, quantile + len(_THREES) * count).view(len(_THREES), count) + 1
            quantile += len(_THREES) * count
            levels = (positions * _GOLDEN % 1.0).float().sort(1).values
            drawn_outputs = (
                out[k % len(rows), :, k][counted[k % len(rows), :, k]] for k in range(len(_THREES))
            )
            thresholds = [
                values.quantile(level) + _NOISE * values.std(correction=0)
                for values, level in zip(drawn_outputs, levels, strict=True)
            ]
            yield _Dilation(dilation, kernels, torch.stack(thresholds))

    @property
    def sizes(self) -> tuple[int, int]:
        """The numbers of MiniRocket's and of Hydra's features, which stand one after the other."""
        thresholds = sum(part.thresholds.numel() for part in self.dilations)
        return 2 * thresholds, sum(2 * len(part.kernels) for part in self.competitions)

    @torch.no_grad()
    def __call__(self, series: Sequence[Tensor]) -> Tensor:
        """Features (N, F) float32 of series (T_i, D)."""
        features = torch.empty(len(series), sum(self.sizes))
        for rows, x, lengths in self._chunks(series):
            parts = [_excesses(x, lengths, part, n) for n, part in enumerate(self.dilations)]
            for part, source, fewer in self._sources(x, lengths):
                parts += _wins(source, fewer, part)
            features[rows] = torch.cat(parts, 1)
        return features

    @torch.no_grad()
    def attribution(self, series: Sequence[Tensor], weights: Tensor) -> Tensor:
        """What every step of N series adds to the weighted sum of its features, (N, T), 0 after its end.

        Every feature is a sum over steps, or the square root of one, which is shared out in proportion. A
        step is the middle of what a kernel covers.

        Args:
            weights: (N, F), of the features of each series.
        """
        steps = torch.zeros(len(series), max(map(len, series)))
        for rows, x, lengths in self._chunks(series):
            blocks = iter(weights[rows].split(self._block_sizes, 1))
            total = torch.zeros(len(x), x.shape[2])
            for number, part in enumerate(self.dilations):
                total += _excess_steps(x, lengths, part, number, next(blocks))
            for part, source, fewer in self._sources(x, lengths):
                total += _win_steps(source, fewer, part, next(blocks), next(blocks))
            steps[rows, : total.shape[1]] = total
        return steps

    def _chunks(self, series: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Row numbers (B,), series (B, D, T) and their lengths (B,), by length."""
        ragged = RaggedTensor(series)
        values = max(len(_THREES), _TAPS * series[0].shape[1])  # of a step: outputs, or what they are made of
        rows = max(1, _CHUNK // (values * int(ragged.lengths.max())))
        for chunk in ragged.lengths.argsort().split(rows):
            x, lengths = ragged.pad(chunk)
            yield chunk, x.transpose(1, 2).contiguous(), lengths

    def _sources(self, x: Tensor, lengths: Tensor) -> Iterator[tuple[_Competition, Tensor, Tensor]]:
        """Hydra's kernels of each dilation, with the series or its differences, and their lengths."""
        fewer = (lengths - 1).clamp_min(0)
        differences = F.pad(x.diff(dim=2), (0, 1)) * sequence_mask(fewer, x.shape[2]).unsqueeze(1)
        for part in self.competitions:
            yield (part, differences, fewer) if part.differenced else (part, x, lengths)

    @property
    def _block_sizes(self) -> list[int]:
        """The numbers of features that each dilation gives, in their order."""
        sizes = [2 * part.thresholds.numel() for part in self.dilations]
        return sizes + [len(part.kernels) for part in self.competitions for _ in range(2)]

    def state(self) -> dict[str, Any]:
        """Plain values and tensors that `from_state` takes."""
        return {
            "dilations": [part._asdict() for part in self.dilations],
            "competitions": [part._asdict() for part in self.competitions],
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> RandomConvolutions:
        """The convolutions that gave this state."""
        convolutions = cls()
        convolutions.dilations = [_Dilation(**part) for part in state["dilations"]]
        convolutions.competitions = [_Competition(**part) for part in state["competitions"]]
        return convolutions


def _dilations(length: int, per_kernel: int) -> list[tuple[int, int]]:
    """Dilations for series of a length, and the thresholds of a kernel at each (MiniRocket's own rule)."""
    highest = max(0.0, math.log2(max(1.0, (length - 1) / (_TAPS - 1))))
    counts: dict[int, int] = {}
    for exponent in torch.linspace(0, highest, min(per_kernel, _MAX_DILATIONS)).tolist():
        counts[int(2**exponent)] = counts.get(int(2**exponent), 0) + 1
    shares = {d: int(count * per_kernel / min(per_kernel, _MAX_DILATIONS)) for d, count in counts.items()}
    left = per_kernel - sum(shares.values())
    return [(d, count + (place < left)) for place, (d, count) in enumerate(shares.items())]


def _minirocket_kernels() -> Tensor:
    """(84, 1, 9)."""
    kernels = torch.full((len(_THREES), 1, _TAPS), -1.0)
    for kernel, taps in zip(kernels, _THREES, strict=True):
        kernel[0, list(taps)] = 2.0
    return kernels


def _channel_masks(count: int, channels: int) -> Tensor:
    """(count, D, 1) zeros and ones: the random channels that each kernel reads; few more often than many."""
    most = min(channels, _CHANNELS)
    sizes = (2 ** (torch.rand(count, 1) * math.log2(most + 1))).int().clamp(1, most)
    ranks = torch.rand(count, channels).argsort(1).argsort(1)
    return (ranks < sizes).float().unsqueeze(-1)


def _hydra_kernels(groups: int, channels: int) -> Tensor:
    """(G * K, D, 9): normal weights of mean 0, by their absolute sum; a group reads the same channels."""
    kernels = torch.randn(groups * _COMPETING, 1, _TAPS)
    kernels -= kernels.mean(-1, keepdim=True)
    kernels /= kernels.abs().sum(-1, keepdim=True)
    return kernels * _channel_masks(groups, channels).repeat_interleave(_COMPETING, 0)


def _convolved(x: Tensor, kernels: Tensor, dilation: int) -> Tensor:
    """(B, D, T) -> (B, T, K), zeros beyond both ends: the product of every step's taps and the kernels."""
    batch, channels, steps = x.shape
    margin = dilation * (_TAPS // 2)
    taps = F.pad(x, (margin, margin)).unfold(2, steps, dilation)  # (B, D, 9, T)
    taps = taps.permute(0, 3, 1, 2).reshape(batch * steps, channels * _TAPS)
    return (taps @ kernels.flatten(1).T).view(batch, steps, -1)


def _real(lengths: Tensor, steps: int) -> Tensor:
    """(B, T) bool: the steps before each series' end; (1, T) where no series is padded."""
    return sequence_mask(lengths[:1] if int(lengths.min()) == steps else lengths, steps)


def _counted(shape: Sequence[int], lengths: Tensor, dilation: int, number: int) -> Tensor:
    """(B, T, K) bool, or (1, T, K) where no series is padded: the steps whose outputs count.

    Every other kernel counts outputs that no padding enters, where a series has any; the others all of them.
    """
    steps, margin = torch.arange(shape[1]), dilation * (_TAPS // 2)
    real = _real(lengths, shape[1])
    ends = lengths[: len(real)].unsqueeze(1)
    inner = (steps >= margin) & (steps < ends - margin)
    inner = torch.where(inner.any(1, keepdim=True), inner, real)
    padded = (torch.arange(shape[2]) + number) % 2 == 0
    return torch.where(padded, real.unsqueeze(2), inner.unsqueeze(2))


def _outputs(x: Tensor, lengths: Tensor, part: _Dilation, number: int) -> tuple[Tensor, Tensor]:
    """The outputs (B, T, 84), minus infinity at steps that do not count; how many steps do, (B or 1, 84)."""
    out = _convolved(x, part.kernels, part.dilation)
    counted = _counted(out.shape, lengths, part.dilation, number)
    return out.masked_fill_(~counted, -torch.inf), counted.sum(1)


def _excesses(x: Tensor, lengths: Tensor, part: _Dilation, number: int) -> Tensor:
    """The share of counted steps at which each output exceeds each threshold, then by how much it does there
    in the mean, (B, 2 * 84 * Q)."""
    out, steps = _outputs(x, lengths, part, number)
    at_once = min(part.thresholds.shape[1], max(1, _CHUNK // out.numel()))
    # One buffer, as the system would clear new memory for each part. Floats, as comparisons into bytes are
    # several times slower.
    buffer = torch.empty(at_once, *out.shape)
    counts, sums = [], []
    for thresholds in part.thresholds.T.contiguous().split(at_once):
        excess = torch.sub(out, thresholds[:, None, None], out=buffer[: len(thresholds)]).clamp_min_(0)
        sums.append(excess.sum(2))
        counts.append(excess.sign_().sum(2))
    count, total = torch.cat(counts), torch.cat(sums)  # (Q, B, 84) each
    features = torch.stack([count / steps, total / count.clamp_min(1)])  # (2, Q, B, 84)
    return features.permute(2, 0, 3, 1).flatten(1)


def _excess_steps(x: Tensor, lengths: Tensor, part: _Dilation, number: int, weights: Tensor) -> Tensor:
    """What each step adds to the weighted sum of `_excesses`, (B, T); weights: (B, 2 * 84 * Q)."""
    out, steps = _outputs(x, lengths, part, number)
    by_share, by_mean = weights.unflatten(1, (2, *part.thresholds.shape)).unbind(1)
    by_share, total = by_share / steps.unsqueeze(2), torch.zeros(len(x), x.shape[2])
    for place, threshold in enumerate(part.thresholds.unbind(1)):
        excess = (out - threshold).clamp_min_(0)
        exceeds = excess.sign()
        of_mean = by_mean[:, :, place] / exceeds.sum(1).clamp_min(1)
        total += torch.einsum("btk,bk->bt", exceeds, by_share[:, :, place])
        total += torch.einsum("btk,bk->bt", excess, of_mean)
    return total


def _winners(x: Tensor, lengths: Tensor, part: _Competition) -> tuple[Tensor, Tensor]:
    """The winners' outputs and the losers' ones (B, T, K, G), 0 for the other kernels.

    Outputs of rounding size are 0, so that all kernels of a group win and lose alike where a series is flat.
    """
    kernels = part.kernels.unflatten(0, (-1, _COMPETING)).transpose(0, 1).flatten(0, 1)
    out = F.hardshrink(_convolved(x, kernels, part.dilation), _NOISE).unflatten(2, (_COMPETING, -1))
    best, worst = out.amax(2, keepdim=True), out.amin(2, keepdim=True)
    real = _real(lengths, x.shape[2])
    if len(real) < len(x) or not bool(real.all()):
        real = real.view(-1, x.shape[2], 1, 1)
        best, worst = best * real, torch.where(real, worst, torch.nan)
    wins = torch.eq(out, best, out=torch.empty_like(out)).mul_(best)
    return wins, torch.eq(out, worst, out=out)


def _wins(x: Tensor, lengths: Tensor, part: _Competition) -> list[Tensor]:
    """The square roots of the winners' summed outputs and of the losers' counts, (B, G * K) each."""
    return [_by_kernel(each).clamp_min(0).sqrt() for each in _winners(x, lengths, part)]


def _by_kernel(values: Tensor) -> Tensor:
    """The sums over the steps of values (B, T, K, G) of kernels, (B, G * K)."""
    return values.sum(1).transpose(1, 2).flatten(1)


def _win_steps(
    x: Tensor, lengths: Tensor, part: _Competition, win_weights: Tensor, loss_weights: Tensor
) -> Tensor:
    """What each step adds to the weighted sum of `_wins`, (B, T); the weights: (B, G * K)."""
    total = torch.zeros(len(x), x.shape[2])
    for each, weights in zip(_winners(x, lengths, part), (win_weights, loss_weights), strict=True):
        sums = _by_kernel(each)
        factors = torch.where(sums > 0, weights / sums.clamp_min(1e-12).sqrt(), 0.0)
        total += torch.einsum("btkg,bgk->bt", each, factors.unflatten(1, (-1, _COMPETING)))
    return total
