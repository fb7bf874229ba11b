"""Knows the parts of a network that classifies: tokens, recurrent and convolutional branch, pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan import checks
from longspan.data.batches import Batch
from longspan.nets import Encoder, real_steps

_SPREAD = 0.02  # of vectors at the start: words hardly seen stay near zero
POOLS = ("attention", "max", "mean", "last")


class Tokens(nn.Module):
    """Numbers of words as vectors: a word's own, plus the mean of those of its character n-grams.

    The n-grams (Bojanowski et al. 2017, arXiv 1607.04606) give a vector to words that training has not seen.

    Args:
        vocabulary: V, own vectors; number 0 is padding, 1 the unknown word.
        size: E, values a vector.
        buckets: vectors that n-grams share, 0 for none.
        word_dropout: share of words that become unknown in training.
        dropout: share of the E values set to 0 in training, the same ones at all steps of a sequence (Gal and
            Ghahramani 2016, arXiv 1512.05287).
    """

    def __init__(
        self, vocabulary: int, size: int, *, buckets: int = 0, word_dropout: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.own = nn.Embedding(vocabulary, size)
        self.parts = nn.Embedding(buckets, size) if buckets else None
        self.word_dropout, self.dropout = word_dropout, dropout
        for table in (self.own, self.parts):
            if table is not None:
                nn.init.normal_(table.weight, std=_SPREAD)

    def forward(self, x: Tensor | tuple[Tensor, ...]) -> Tensor:
        """Vectors (B, T, E).

        Args:
            x: numbers (B, T); or with n-grams the tuple of them, places (B, T) of each word among the batch's
                different words, their n-grams end to end (G,), and where each word's start in these (U,).
        """
        numbers = x[0] if isinstance(x, tuple) else x
        if self.training and self.word_dropout:
            lost = torch.rand(numbers.shape, device=numbers.device) < self.word_dropout
            numbers = numbers.masked_fill(lost & (numbers != 0), 1)
        vectors = self.own(numbers)
        if self.parts is not None and isinstance(x, tuple):
            _, places, grams, starts = x
            vectors = vectors + F.embedding_bag(grams, self.parts.weight, starts, mode="mean")[places]
        if self.training and self.dropout:
            kept = torch.rand(vectors.shape[0], 1, vectors.shape[2], device=vectors.device) >= self.dropout
            vectors = vectors * (kept / (1.0 - self.dropout))
        return vectors


class Norm(nn.BatchNorm1d):
    """Batch normalisation of (B, C, T) by the steps that count alone (Ioffe and Szegedy 2015)."""

    def forward(self, input: Tensor, real: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """real: (B, 1, T), 1 at steps that count and 0 elsewhere; None where all do."""
        if not self.training or real is None:
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None
        count = real.sum().clamp_min(1)
        mean = (input * real).sum((0, 2)) / count
        variance = ((input - mean.unsqueeze(-1)).square() * real).sum((0, 2)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum or 0.1)
            self.running_var.lerp_(variance, self.momentum or 0.1)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return input * scale.unsqueeze(-1) + (self.bias - mean * scale).unsqueeze(-1)


class Convolutions(nn.Module):
    """Convolutions over time one after the other, each with batch normalisation and ReLU.

    The branch of LSTM-FCN (Karim et al. 2017, arXiv 1709.05206). Steps beyond a row's length stay 0 all the
    way, so a padded row gives what it gives alone.

    Args:
        input_size: I; channels: of every convolution; kernels: steps that each sees.
    """

    def __init__(self, input_size: int, channels: Sequence[int], kernels: Sequence[int]) -> None:
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for width, kernel in zip(channels, kernels, strict=True):
            self.layers.append(nn.Conv1d(input_size, width, kernel, bias=False))
            self.norms.append(Norm(width))
            input_size = width
        self.kernels, self.output_size = tuple(kernels), input_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, I) -> (B, T, C)."""
        if lengths is not None and int(lengths.min()) == x.shape[1]:
            lengths = None  # the fused normalisation, where nothing is padded
        real = real_steps(x, lengths, None)
        seen = None if real is None else real.transpose(1, 2).to(x.dtype)
        z = x.transpose(1, 2) if seen is None else x.transpose(1, 2) * seen
        for layer, norm, kernel in zip(self.layers, self.norms, self.kernels, strict=True):
            z = norm(layer(F.pad(z, ((kernel - 1) // 2, kernel // 2))), seen).relu()
            z = z if seen is None else z * seen
        return z.transpose(1, 2)


class Pool(nn.Module):
    """Steps (B, T, W) as one vector (B, W): "mean", "max", "last", or "attention", by weights it learns.

    The attention is that of Yang et al. 2016 (Hierarchical attention networks, equations 5 to 7).
    """

    def __init__(self, kind: str, size: int) -> None:
        super().__init__()
        self.kind = checks.one_of("pool", kind, POOLS)
        if kind == "attention":
            self.key, self.query = nn.Linear(size, size), nn.Linear(size, 1, bias=False)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """x: (B, T, W); lengths: (B,), None where all steps count. A row of length 0 gives zeros."""
        real = real_steps(x, lengths, None)
        real = torch.ones_like(x[..., :1], dtype=torch.bool) if real is None else real
        if self.kind == "max":
            return x.masked_fill(~real, -torch.inf).amax(1).masked_fill(~real.any(1), 0.0)
        if self.kind == "attention":
            scores = self.query(self.key(x).tanh()).masked_fill(~real, -1e9)
            return (scores.softmax(1) * x * real).sum(1)
        count = real.sum(1).clamp_min(1)
        if self.kind == "mean":
            return (x * real).sum(1) / count
        return x.gather(1, (count - 1).unsqueeze(-1).expand(-1, 1, x.shape[2])).squeeze(1)


class Reader(nn.Module):
    """One reader of sequences (B, T, I): scores of C classes, for each row or each step.

    A recurrent branch and, where there are channels, a convolutional one beside it; what both give, pooled
    over time or step by step, goes through dropout into one linear layer.

    Args:
        recurrent: keywords of `longspan.nets.Encoder` but pool; pool: of the recurrent branch; the other's
            steps are averaged, as in the paper.
        channels, kernels: of `Convolutions`; none for no such branch.
        dropout: rate before the linear layer.
        steps: whether every step is scored.
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        recurrent: dict[str, Any],
        pool: str,
        channels: Sequence[int] = (),
        kernels: Sequence[int] = (),
        dropout: float = 0.0,
        steps: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = Encoder(input_size, pool="steps", **recurrent)
        self.pool = None if steps else Pool(pool, self.encoder.output_size)
        self.convolutions, size = None, self.encoder.output_size
        if channels:
            self.convolutions = Convolutions(input_size, channels, kernels)
            self.average = None if steps else Pool("mean", self.convolutions.output_size)
            size += self.convolutions.output_size
        self.drop, self.head = nn.Dropout(dropout), nn.Linear(size, classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, C), or (B, T, C) with steps."""
        parts = [_pooled(self.pool, self.encoder(x, lengths=lengths)[0], lengths)]
        if self.convolutions is not None:
            parts.append(_pooled(self.average, self.convolutions(x, lengths), lengths))
        return self.head(self.drop(torch.cat(parts, -1)))


def _pooled(pool: Pool | None, out: Tensor, lengths: Tensor | None) -> Tensor:
    return out if pool is None else pool(out, lengths)


class Readers(nn.Module):
    """Several readers of the same sequences, whose scores stand side by side.

    Args:
        readers: M of them.
        tokens: what makes vectors of numbers, None where the batch's x are readings (B, T, I).
        many: whether any number of classes may be right, each with a probability of its own.
    """

    def __init__(
        self, readers: Sequence[Reader], tokens: Tokens | None = None, *, many: bool = False
    ) -> None:
        super().__init__()
        self.tokens, self.readers, self.many = tokens, nn.ModuleList(readers), many

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (B, M, C), or (B, M, T, C) step by step."""
        return self.read(self.embed(batch), batch.lengths), state

    def together(self, scores: Tensor) -> Tensor:
        """The readers' scores as one, (B, C): the mean probability's logarithm, for many the mean score."""
        if self.many:
            return scores.mean(1)
        return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])

    def embed(self, batch: Batch) -> Tensor:
        """What the readers read, (B, T, I)."""
        return batch.x if self.tokens is None else self.tokens(batch.x)

    def read(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        """Scores of what `embed` gave."""
        return torch.stack([reader(x, lengths) for reader in self.readers], 1)

    def matter(self, batch: Batch, classes: Tensor) -> Tensor:
        """How much each step spoke for a class: gradient of its mean score times the input, (B, T).

        Simonyan et al. 2013 (arXiv 1312.6034) with the input multiplied, as Shrikumar et al. 2016 do.

        Args:
            classes: (B,), the class of each row that is asked about.
        """
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            x = self.embed(batch).detach().requires_grad_()
            scores = self.read(x, batch.lengths).mean(1)
            (found,) = torch.autograd.grad(scores.gather(1, classes.unsqueeze(1)).sum(), x)
        self.train(was_training)
        return (found * x.detach()).sum(-1)
