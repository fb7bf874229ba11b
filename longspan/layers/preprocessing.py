"""Layers that prepare inputs by data seen before: normalization, bins, categories, vocabularies."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors
from longspan.config import epsilon

from .base import Layer, LayerOptions, required_size
from .categories import batches_of_values, check_dense, encode, encoded_shape
from .structure import Shape, to_tensor
from .weights import Weight, register_weight


class Normalization(Layer):
    """Each feature to mean 0 and variance 1, by the mean and variance of data: keras.layers.Normalization.

    Weights, which fitting does not change: mean, variance, count; none with mean= and variance=.

    Args:
        axis: dimensions with a mean of their own, the last one; None for one mean of all.
        mean, variance: instead of `adapt`.
        invert: the other way round, from normalized values.

    >>> layer = Normalization()
    >>> layer.adapt(np.array([[1.0], [3.0]]))
    >>> layer(np.array([[5.0]]))
    tensor([[3.]])
    """

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: Any = None,
        variance: Any = None,
        invert: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            received = "mean alone" if variance is None else "variance alone"
            raise errors.value_error(self.name, "mean and variance", received, "pass both, or call adapt")
        self._given = None if mean is None else (to_tensor(np.asarray(mean)), to_tensor(np.asarray(variance)))
        self.invert = errors.check_bool("invert", invert)

    mean: Tensor
    variance: Tensor

    def _kept(self, dimensions: int) -> list[int]:
        for axis in self.axis:
            if not -dimensions <= axis < dimensions:
                expected = f"dimensions of an input with {dimensions}"
                raise errors.value_error(f"axis of {self.name}", expected, axis, "-1 is the last one")
        return sorted(axis % dimensions for axis in self.axis)

    def create_weights(self, shape: Shape) -> None:
        kept = self._kept(len(shape))
        size = [required_size(self, shape[axis], f"dimension {axis}") for axis in kept]
        if self._given is not None:
            return
        for name, start, sizes in (
            ("mean", "zeros", size),
            ("variance", "ones", size),
            ("count", "zeros", ()),
        ):
            source = register_weight(self, name, sizes, trainable=False)
            self.own_weights.append(Weight(name, sizes, start, [source], trainable=False))

    @torch.no_grad()
    def adapt(self, data: Any) -> None:
        """Take the mean and variance of an array (N, …), or of an iterable of batches of x or (x, y)."""
        batches = batches_of_values(iter(data) if isinstance(data, list) else data, None)
        total, squares, count = 0.0, 0.0, 0
        for batch in batches:
            x = torch.as_tensor(batch[0] if isinstance(batch, (tuple, list)) else batch).double()
            if not self.built:
                self.build(tuple(x.shape))
            self._check_sizes(x)
            over = [axis for axis in range(x.dim()) if axis not in self._kept(x.dim())]
            total = total + (x.sum(over) if over else x)
            squares = squares + (x.square().sum(over) if over else x.square())
            count += math.prod(x.shape[axis] for axis in over)
        if not count:
            raise errors.value_error("data", "at least one batch", "none", "pass an array")
        mean = torch.as_tensor(total) / count
        self.mean.copy_(mean)
        self.variance.copy_(torch.as_tensor(squares) / count - mean.square())

    def _check_sizes(self, x: Tensor) -> None:
        """An error for data whose features are others than those the layer was built for."""
        built = self._built_shape
        kept = self._kept(x.dim())
        if len(built) != x.dim() or any(built[axis] != x.shape[axis] for axis in kept):
            received, way_out = tuple(x.shape), "adapt a new layer"
            raise errors.value_error(f"data of {self.name}", f"shape {built}", received, way_out)

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        values = x if x.is_floating_point() else x.to(torch.get_default_dtype())
        kept = self._kept(x.dim())
        wide = [x.shape[axis] if axis in kept else 1 for axis in range(x.dim())]
        mean, variance = (self.mean, self.variance) if self._given is None else self._given
        mean, deviation = mean.to(values), variance.to(values).sqrt().clamp_min(epsilon())
        if mean.numel() == math.prod(wide):
            mean, deviation = mean.reshape(wide), deviation.reshape(wide)
        return values * deviation + mean if self.invert else (values - mean) / deviation


class Discretization(Layer):
    """The number of the bin that a value falls into: keras.layers.Discretization.

    Args:
        bin_boundaries: the limits, the first bin ends before the first of them; or None and `adapt`.
        num_bins: the number of bins that `adapt` makes, with equal shares of the data.
        epsilon: accepted without effect.
        output_mode: "int"; "one_hot" for a vector a value; "multi_hot" and "count" for a vector a row.
        sparse: accepted for False.

    >>> Discretization([0.0, 1.0])(np.array([-0.5, 0.5, 2.0]))
    tensor([0, 1, 2])
    """

    def __init__(
        self,
        bin_boundaries: Sequence[float] | None = None,
        num_bins: int | None = None,
        epsilon: float = 0.01,
        output_mode: str = "int",
        sparse: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        if (bin_boundaries is None) == (num_bins is None):
            received = "neither" if num_bins is None else "both"
            expected = "one of bin_boundaries and num_bins"
            raise errors.value_error(self.name, expected, received, "num_bins goes with adapt")
        self.bin_boundaries = None if bin_boundaries is None else sorted(bin_boundaries)
        self.num_bins = num_bins
        modes = ("int", "one_hot", "multi_hot", "count")
        self.output_mode = errors.check_choice("output_mode", output_mode, modes)
        self.sparse = check_dense(self.name, sparse)

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Choose the limits so that every bin has the same share of the data.

        Args:
            data: an array, tensor or list; or an iterable of batches of such.
            steps: the number of batches, None for all.
        """
        shares = np.linspace(0.0, 1.0, (self.num_bins or 2) + 1)[1:-1]
        values = [np.asarray(batch).reshape(-1) for batch in batches_of_values(data, steps)]
        self.bin_boundaries = np.quantile(np.concatenate(values), shares).tolist()

    def call(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        if self.bin_boundaries is None:
            raise errors.value_error(self.name, "limits of bins", "none", "call adapt(data) first")
        limits = torch.as_tensor(self.bin_boundaries, dtype=torch.float64)
        bins = torch.bucketize(x.double(), limits, right=True)
        return encode(bins, self.output_mode, self._depth())

    def _depth(self) -> int:
        return self.num_bins or 1 if self.bin_boundaries is None else len(self.bin_boundaries) + 1

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return encoded_shape(input_shape, self.output_mode, self._depth())


class CategoryEncoding(Layer):
    """Numbers of categories as one-hot, multi-hot or counts: keras.layers.CategoryEncoding.

    Args:
        num_tokens: the number of categories.
        output_mode: "one_hot" for a vector a number; "multi_hot" and "count" for a vector a row.
        sparse: accepted for False.

    >>> CategoryEncoding(4, "count")(np.array([[0, 1, 1]]))
    tensor([[1., 2., 0., 0.]])
    """

    def __init__(
        self,
        num_tokens: int | None = None,
        output_mode: str = "multi_hot",
        sparse: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.num_tokens = errors.check_int("num_tokens", num_tokens, 1, "give the number of categories")
        modes = ("multi_hot", "one_hot", "count")
        self.output_mode = errors.check_choice("output_mode", output_mode, modes)
        self.sparse = check_dense(self.name, sparse)

    def call(self, x: Tensor, mask: Tensor | None = None, count_weights: Any = None) -> Tensor:
        if count_weights is not None and self.output_mode != "count":
            expected = 'None without output_mode="count"'
            raise errors.value_error("count_weights", expected, "weights", "leave them out")
        codes = x.long()
        if codes.numel() and (int(codes.min()) < 0 or int(codes.max()) >= self.num_tokens):
            received = f"{int(codes.min())} to {int(codes.max())}"
            expected = f"categories from 0 to {self.num_tokens - 1}"
            raise errors.value_error(f"input of {self.name}", expected, received, "raise num_tokens")
        if self.output_mode == "one_hot" and codes.dim() > 1 and codes.shape[-1] == 1:
            codes = codes.squeeze(-1)
        single = F.one_hot(codes, self.num_tokens).to(torch.get_default_dtype())
        if self.output_mode == "one_hot" or codes.dim() == 0:
            return single
        if self.output_mode == "multi_hot":
            return single.amax(-2)
        if count_weights is not None:
            single = single * torch.as_tensor(count_weights).to(single).unsqueeze(-1)
        return single.sum(-2)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        if self.output_mode == "one_hot":
            rest = input_shape[:-1] if len(input_shape) > 1 and input_shape[-1] == 1 else input_shape
            return (*rest, self.num_tokens)
        return (*input_shape[:-1], self.num_tokens)


_PUNCTUATION = re.compile(r"[!\"#$%&()*+,\-./:;<=>?@\[\\\]^_`{|}~']")


class TextVectorization(Layer):
    """Texts as rows of word numbers: keras.layers.TextVectorization.

    Number 0 is padding and 1 a word that is not in the vocabulary; vectors have no place for padding. Called
    on a list or array of texts, before a model: tensors hold no texts.

    Args:
        max_tokens: the size of the vocabulary with these two; None for all words.
        standardize: "lower_and_strip_punctuation", "lower", "strip_punctuation", a function, or None.
        split: "whitespace", "character", a function of a text, or None for texts that are words.
        ngrams: None.
        output_mode: "int" (N, T), or "multi_hot", "count" (N, V).
        output_sequence_length: T, rows are cut or filled up with 0; None for the longest row.
        pad_to_max_tokens: make the vectors of the other modes as long as max_tokens.
        vocabulary: the words in order, or a file with one in every line, instead of `adapt`.

    >>> layer = TextVectorization(output_sequence_length=3)
    >>> layer.adapt(["the cat", "the dog!"])
    >>> layer(["The bird", "the dog"]).tolist(), layer.get_vocabulary()[2]
    ([[2, 1, 0], [2, 3, 0]], 'the')
    """

    def __init__(
        self,
        max_tokens: int | None = None,
        standardize: str | Callable[[str], str] | None = "lower_and_strip_punctuation",
        split: str | Callable[[str], Iterable[str]] | None = "whitespace",
        ngrams: None = None,
        output_mode: str = "int",
        output_sequence_length: int | None = None,
        pad_to_max_tokens: bool = False,
        vocabulary: str | Sequence[str] | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        if ngrams is not None:
            raise errors.value_error("ngrams", "None", ngrams, "use Classifier for n-grams of texts")
        self.max_tokens = (
            None if max_tokens is None else errors.check_int("max_tokens", max_tokens, 3, "or None")
        )
        self.standardize, self.split = standardize, split
        self.output_mode = errors.check_choice("output_mode", output_mode, ("int", "multi_hot", "count"))
        self.output_sequence_length = output_sequence_length
        if output_sequence_length is not None and output_mode != "int":
            expected, way_out = 'None without output_mode="int"', "leave it out"
            raise errors.value_error("output_sequence_length", expected, output_sequence_length, way_out)
        self.pad_to_max_tokens = errors.check_bool("pad_to_max_tokens", pad_to_max_tokens)
        if pad_to_max_tokens and max_tokens is None:
            raise errors.value_error("max_tokens", "a number beside pad_to_max_tokens", None, "give one")
        self._words: list[str] = []
        self._numbers: dict[str, int] = {}
        if vocabulary is not None:
            self.set_vocabulary(vocabulary)

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Take the words of texts, the most frequent ones first, equally frequent ones from z to a.

        Args:
            data: texts in a list or array, or an iterable of batches of them.
            steps: the number of batches, None for all.
        """
        batches = [data] if isinstance(data, str) else batches_of_values(data, steps)
        counts = Counter(word for batch in batches for text in _texts(batch) for word in self._split(text))
        most = sorted(counts, key=lambda word: (counts[word], word), reverse=True)
        self.set_vocabulary(most[: None if self.max_tokens is None else self.max_tokens - self._first()])

    def _first(self) -> int:
        """The number of the first word: after padding, which vectors leave out, and the unknown word."""
        return 2 if self.output_mode == "int" else 1

    def set_vocabulary(self, vocabulary: str | Sequence[str]) -> None:
        """Take these words in this order, or those in the lines of a file."""
        words = vocabulary
        if isinstance(words, str):
            words = Path(words).read_text(encoding="utf-8").splitlines()
        self._words = [word for word in words if word not in ("", "[UNK]")]
        self._numbers = {word: number for number, word in enumerate(self._words, self._first())}
        self._options["vocabulary"] = list(self._words)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[str]:
        """The words by their numbers, "" and "[UNK]" before them; without "" where words make vectors."""
        special = ("", "[UNK]")[2 - self._first() :]
        return [*(special if include_special_tokens else ()), *self._words]

    def vocabulary_size(self) -> int:
        """The number of words with padding and the unknown word; without padding where words make vectors."""
        return len(self._words) + self._first()

    def _split(self, text: str) -> list[str]:
        way = self.standardize
        if callable(way):
            text = way(text)
        elif way is not None:
            text = text.lower() if "lower" in way else text
            text = _PUNCTUATION.sub("", text) if "strip_punctuation" in way else text
        if callable(self.split):
            return list(self.split(text))
        return list(text) if self.split == "character" else text.split() if self.split else [text]

    def __call__(self, texts: Any) -> Tensor:
        """The numbers of the words of every text, (N, T) int64, or (N, V) for the other modes."""
        unknown = self._first() - 1
        rows = [[self._numbers.get(word, unknown) for word in self._split(text)] for text in _texts(texts)]
        if self.output_mode != "int":
            size = self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()
            counts = torch.zeros(len(rows), size)
            for index, row in enumerate(rows):
                counts[index] = torch.bincount(
                    torch.tensor(row, dtype=torch.int64), minlength=counts.shape[1]
                )
            return counts if self.output_mode == "count" else counts.clamp_max(1.0)
        steps = self.output_sequence_length or max(map(len, rows), default=0)
        padded = torch.zeros(len(rows), steps, dtype=torch.int64)
        for index, row in enumerate(rows):
            kept = row[:steps]
            padded[index, : len(kept)] = torch.tensor(kept, dtype=torch.int64)
        return padded[0] if isinstance(texts, str) else padded

    def call(self, x: Any, mask: Any = None) -> Any:
        return self(x)


def _texts(data: Any) -> list[str]:
    """Texts in a list, from one, a list or array, or an iterable of batches."""
    if isinstance(data, str):
        return [data]
    if isinstance(data, np.ndarray):
        return [str(text) for text in data.reshape(-1)]
    return [text for part in data for text in ([part] if isinstance(part, str) else _texts(part))]
