"""The networks of a classifier: token embedding, recurrent and convolutional branches, pooling, ensemble."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.data.labels import IGNORED
from longspan.networks.encoder import Encoder
from longspan.networks.pooling import Pool, real_steps
from longspan.nn.dropout import Dropout
from longspan.nn.embedding import Embedding, bag_means, lookup
from longspan.nn.linear import Linear
from longspan.tasks.fine_tuning import parameter_groups
from longspan.tasks.network import TaskNetwork

from .pretrained_network import FineTunedClassifier

_INITIAL_STD = 0.02  # of token vectors before training; small, so that vectors of rare words stay near zero


class Subwords(NamedTuple):
    """The character n-grams of the U distinct words of a batch.

    words: (B, T), the index of each token's word among the U words.
    ngrams: (G,), the bucket numbers of the n-grams of all words, one word after another.
    starts: (U,), the index in `ngrams` of each word's first n-gram.
    """

    words: Tensor
    ngrams: Tensor
    starts: Tensor


class TextInputs(NamedTuple):
    """Texts: tokens, their numbers (B, T), 0 at padding; subwords, None for a model without subwords."""

    tokens: Tensor
    subwords: Subwords | None = None


class TokenEmbedding(nn.Module):
    """Embeds tokens: the vector of a token, plus the mean vector of its character n-grams.

    The n-grams (Bojanowski et al. 2017, arXiv 1607.04606) give a vector to words that training has not seen.

    Args:
        vocabulary: V, vectors of tokens; number 0 is padding, 1 the unknown token.
        size: E, values of a vector.
        buckets: vectors that the n-grams are hashed to, 0 for none.
        word_dropout: probability that a token becomes the unknown one in training.
        dropout: probability that one of the E values is set to 0 in training, at all steps of a sequence
            alike (Gal and Ghahramani 2016, arXiv 1512.05287).
    """

    def __init__(
        self, vocabulary: int, size: int, *, buckets: int = 0, word_dropout: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.own = Embedding(vocabulary, size)  # of tokens
        self.parts = Embedding(buckets, size) if buckets else None  # of n-grams
        self.word_dropout, self.dropout = word_dropout, dropout
        for table in (self.own, self.parts):
            if table is not None:
                nn.init.normal_(table.weight, std=_INITIAL_STD)

    def forward(self, x: TextInputs) -> Tensor:
        """Vectors (B, T, E)."""
        tokens = x.tokens
        if self.training and self.word_dropout:
            dropped = torch.rand(tokens.shape, device=tokens.device) < self.word_dropout
            tokens = tokens.masked_fill(dropped & (tokens != 0), 1)
        vectors = self.own(tokens)
        if self.parts is not None and x.subwords is not None:
            words, ngrams, starts = x.subwords
            vectors = vectors + lookup(bag_means(self.parts.weight, ngrams, starts), words)
        if self.training and self.dropout:
            kept = torch.rand(vectors.shape[0], 1, vectors.shape[2], device=vectors.device) >= self.dropout
            vectors = vectors.mul_(kept / (1.0 - self.dropout))
        return vectors


class MaskedBatchNorm1d(nn.BatchNorm1d):
    """Batch normalization (Ioffe and Szegedy 2015) of (B, C, T); padding is left out of the statistics."""

    def forward(self, input: Tensor, real: Tensor | None = None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        """(B, C, T) -> (B, C, T); real: (B, 1, T), 1 at steps and 0 at padding, None for no padding."""
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
    """Stacked convolutions over time, each followed by batch normalization and ReLU.

    The convolutional branch of LSTM-FCN (Karim et al. 2017, arXiv 1709.05206). Padding stays 0 in every
    layer, so that a row has the same output with and without padding.

    Args:
        input_size: I; filters: output channels of each convolution; kernel_sizes: steps that each one covers.
    """

    def __init__(self, input_size: int, filters: Sequence[int], kernel_sizes: Sequence[int]) -> None:
        super().__init__()
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for width, kernel in zip(filters, kernel_sizes, strict=True):
            self.layers.append(nn.Conv1d(input_size, width, kernel, bias=False))
            self.norms.append(MaskedBatchNorm1d(width))
            input_size = width
        self.kernel_sizes, self.output_size = tuple(kernel_sizes), input_size

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """(B, T, I) -> (B, T, C)."""
        real = real_steps(x, lengths)
        mask = None if real is None else real.transpose(1, 2).to(x.dtype)
        z = x.transpose(1, 2) if mask is None else x.transpose(1, 2) * mask
        for layer, norm, kernel in zip(self.layers, self.norms, self.kernel_sizes, strict=True):
            z = norm(layer(F.pad(z, ((kernel - 1) // 2, kernel // 2))), mask).relu()
            z = z if mask is None else z * mask
        return z.transpose(1, 2)


def stack_frames(x: Tensor, frame: int) -> Tensor:
    """Concatenates every `frame` steps, after zeros at the end: (B, T, I) -> (B, ceil(T / frame), frame * I).

    >>> stack_frames(torch.arange(3.0).view(1, 3, 1), 2)
    tensor([[[0., 1.],
             [2., 0.]]])
    """
    padded = F.pad(x, (0, 0, 0, -x.shape[1] % frame))
    return padded.reshape(len(x), -1, frame * x.shape[2])


class SequenceClassifier(nn.Module):
    """One member of the ensemble: gives sequences (B, T, I) scores of C classes, for each row or each step.

    The outputs of a recurrent branch and, with `filters`, of a convolutional one are pooled over time,
    concatenated, and go through dropout into one linear layer.

    Args:
        input_size: I; classes: C.
        recurrent: keywords of `longspan.networks.Encoder`, without `pool`.
        pool: pooling of the recurrent branch. The convolutional branch is averaged, as in LSTM-FCN.
        filters, kernel_sizes: of `Convolutions`; empty for no convolutional branch.
        dropout: rate before the linear layer.
        per_step: whether every step is scored.
        frame: consecutive steps that are read as one step, for long sequences; 1 if every step is scored.
        whole: T of a third branch, an LSTM whose steps are the channels: each has the T values of one channel
            (the dimension shuffle of LSTM-FCN). 0 for no such branch.
    """

    def __init__(
        self,
        input_size: int,
        classes: int,
        *,
        recurrent: dict[str, Any],
        pool: str,
        filters: Sequence[int] = (),
        kernel_sizes: Sequence[int] = (),
        dropout: float = 0.0,
        per_step: bool = False,
        frame: int = 1,
        whole: int = 0,
    ) -> None:
        super().__init__()
        self.whole = whole
        self.shuffled = Encoder(whole, recurrent["hidden_size"], dropout=dropout) if whole else None
        self.frame, input_size = frame, frame * input_size
        self.encoder = Encoder(input_size, pool="steps", **recurrent)
        self.pool = None if per_step else Pool(pool, self.encoder.output_size)
        self.convolutions, size = None, self.encoder.output_size
        if filters:
            self.convolutions = Convolutions(input_size, filters, kernel_sizes)
            self.average = None if per_step else Pool("mean", self.convolutions.output_size)
            size += self.convolutions.output_size
        size += 0 if self.shuffled is None else self.shuffled.output_size
        self.drop, self.head = Dropout(dropout), Linear(size, classes)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, C), or (B, T, C) with `per_step`; lengths: (B,), None without padding."""
        shuffled = [] if self.shuffled is None else [self.shuffled(self._channels(x))[0]]
        if self.frame > 1:
            x = stack_frames(x, self.frame)
            lengths = None if lengths is None else (lengths + self.frame - 1) // self.frame
        parts = [_pooled(self.pool, self.encoder(x, lengths=lengths)[0], lengths)]
        if self.convolutions is not None:
            parts.append(_pooled(self.average, self.convolutions(x, lengths), lengths))
        parts += shuffled
        return self.head(self.drop(parts[0] if len(parts) == 1 else torch.cat(parts, -1)))

    def _channels(self, x: Tensor) -> Tensor:
        """The channels as steps: (B, steps, I) -> (B, I, T), with zeros after the last of the steps."""
        return F.pad(x, (0, 0, 0, self.whole - x.shape[1])).transpose(1, 2)


def _pooled(pool: Pool | None, out: Tensor, lengths: Tensor | None) -> Tensor:
    return out if pool is None else pool(out, lengths)


class Ensemble(TaskNetwork):
    """Several classifiers of the same sequences, trained side by side; their probabilities are averaged.

    Args:
        members: M classifiers; those that start from a language model learn layer by layer, see `FineTuning`.
        embeddings: the token embedding of each member; empty if the batch's x are numbers (B, T, I). Each
            member has its own, so that errors are less correlated and the mean is better (Dietterich 2000,
            "Ensemble methods in machine learning").
        multilabel: whether each class has a probability of its own (sigmoid instead of softmax).
    """

    def __init__(
        self,
        members: Sequence[SequenceClassifier | FineTunedClassifier],
        embeddings: Sequence[TokenEmbedding] = (),
        *,
        multilabel: bool = False,
    ) -> None:
        super().__init__()
        self.members, self.multilabel = nn.ModuleList(members), multilabel
        self.embeddings = nn.ModuleList(embeddings)
        self._fine_tuned = [member for member in members if isinstance(member, FineTunedClassifier)]

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        """Scores (B, M, C) of the members, (B, M, T, C) if every step is scored; and the state as it was."""
        return self.scores(self.embed(batch), batch.lengths), state

    def parameter_groups(self) -> list[dict[str, Any]]:
        if not self._fine_tuned:
            return super().parameter_groups()
        parts = zip(*(member.parts for member in self._fine_tuned), strict=True)
        return parameter_groups([*parts, list(self.embeddings)])

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return cross_entropy(output, batch)

    def loss_count(self, output: Tensor, batch: Batch) -> Tensor:
        return (batch.y != IGNORED).sum()

    def take_rows(self, batch: Batch, rows: Tensor) -> Batch:
        subwords = batch.x.subwords if isinstance(batch.x, TextInputs) else None
        if subwords is None:
            return super().take_rows(batch, rows)
        texts = TextInputs(batch.x.tokens[rows], subwords._replace(words=subwords.words[rows]))
        return replace(super().take_rows(replace(batch, x=batch.x.tokens), rows), x=texts)

    def predict(self, batch: Batch) -> Tensor:
        """Scores (B, C) or (B, T, C) of the ensemble, see `combine`."""
        return self.combine(self(batch)[0])

    @torch.no_grad()
    def take(self, weights: Mapping[str, Tensor]) -> None:
        """Set embeddings and recurrent layers to those of a language model, see `PretrainedEncoder`."""
        for member, vectors in zip(self._fine_tuned, self.word_vectors, strict=True):
            vectors.copy_(weights["embedding.weight"])
            member.take(weights)

    def left_out(self, batch: Batch, folds: Tensor) -> Tensor:
        """Scores (B, C) of each row by the one member not trained on it; folds: (B,), the member's number."""
        scores = self(batch)[0]
        chosen = scores[torch.arange(len(scores), device=scores.device), folds.to(scores.device)]
        return chosen if self.multilabel else chosen.log_softmax(-1)

    @property
    def word_vectors(self) -> list[Tensor]:
        """The token vectors (V, E) of every member; empty for sequences of numbers."""
        return [embedding.get_parameter("own.weight") for embedding in self.embeddings]

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def combine(self, scores: Tensor) -> Tensor:
        """Scores (B, C) of the ensemble: the log of the mean probability; for multilabel the mean score."""
        if self.multilabel:
            return scores.mean(1)
        return scores.log_softmax(-1).logsumexp(1) - math.log(scores.shape[1])

    def embed(self, batch: Batch) -> list[Tensor]:
        """The input (B, T, I) of each member."""
        if not len(self.embeddings):
            return [batch.x] * len(self.members)
        return [embedding(batch.x) for embedding in self.embeddings]

    def scores(self, x: Sequence[Tensor], lengths: Tensor | None) -> Tensor:
        """Scores (B, M, C) or (B, M, T, C) of the inputs that `embed` gave."""
        if lengths is not None and int(lengths.min()) == x[0].shape[1]:
            lengths = None  # no padding: recurrence, convolutions and pooling take shorter paths
        if len(self.members) == 1:
            return self.members[0](x[0], lengths).unsqueeze(1)
        return torch.stack(
            [member(inputs, lengths) for member, inputs in zip(self.members, x, strict=True)], 1
        )

    def attribution(self, batch: Batch, classes: Tensor) -> Tensor:
        """The attribution of a class's score to every input, (B, T, I): gradient times input.

        The gradient is that of the members' mean score with respect to the input (Simonyan et al. 2013, arXiv
        1312.6034); Shrikumar et al. 2016 multiply it by the input.

        Args:
            classes: (B,), the class of each row whose score is explained.
        """
        was_training = self.training
        self.eval()
        with torch.enable_grad():
            x = [inputs.detach().clone().requires_grad_() for inputs in self.embed(batch)]
            scores = self.scores(x, batch.lengths).mean(1)
            gradients = torch.autograd.grad(scores.gather(1, classes.unsqueeze(1)).sum(), x)
        self.train(was_training)
        products = [gradient * inputs.detach() for gradient, inputs in zip(gradients, x, strict=True)]
        return torch.stack(products).sum(0)


def cross_entropy(scores: Tensor, batch: Batch) -> Tensor:
    """Cross entropy, the mean over members, rows and labelled steps; binary cross entropy for multilabel.

    Args:
        scores: (B, M, C), or (B, M, T, C) if every step is scored, as `Ensemble.forward` returns them.
        batch: y of class numbers (B,) or (B, T), or of zeros and ones (B, C); weight: the same shape, with a
            factor for each member (B, M) or (B, M, C), or None for 1.
    """
    members = scores.shape[1]
    if batch.weight is None and batch.y.dim() == 1:
        y = batch.y if members == 1 else batch.y.repeat_interleave(members)
        return F.cross_entropy(scores.flatten(0, 1), y)
    y = batch.y.unsqueeze(1).expand(-1, members, *batch.y.shape[1:])
    if batch.y.is_floating_point():
        losses = F.binary_cross_entropy_with_logits(scores, y, reduction="none")
    else:
        losses = F.cross_entropy(scores.flatten(0, -2), y.flatten(), ignore_index=IGNORED, reduction="none")
    if batch.weight is not None:
        by_member = batch.weight.dim() == y.dim()
        losses = losses.view(y.shape) * (batch.weight if by_member else batch.weight.unsqueeze(1))
    return losses.sum() / (y != IGNORED).sum().clamp_min(1)
