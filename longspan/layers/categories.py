"""Layers that turn texts and numbers into numbers of categories: by a vocabulary, or by a hash."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Unpack

from longspan import errors

from .base import Layer, LayerOptions
from .fingerprints import hash_bucket
from .symbolic import KerasTensor

_MODES = ("int", "one_hot", "multi_hot", "count", "tf_idf")


class CategoryLayer(Layer):
    """A layer from texts or numbers, in lists, arrays or tensors, to numbers of categories. Abstract."""

    output_mode: str
    sparse: bool

    def __call__(self, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The categories; of symbolic tensors symbolic tensors."""
        if isinstance(inputs, KerasTensor):
            return super().__call__(inputs, *args, **kwargs)
        return self.call(inputs, None)

    def call(self, x: Any, mask: Any) -> Any:
        values = np.asarray(x.cpu() if isinstance(x, Tensor) else x)
        different, places = np.unique(values, return_inverse=True)
        numbers = np.array([self.number_of(value) for value in different.tolist()], dtype=np.int64)
        return self.encoded(torch.from_numpy(numbers[places].reshape(values.shape)))

    @abstractmethod
    def number_of(self, value: Any) -> int:
        """The number of a text's or a number's category; -1 for one that is left out of vectors."""

    @abstractmethod
    def depth(self) -> int:
        """The number of categories, of padding ones too."""

    def encoded(self, numbers: Tensor) -> Tensor:
        """Numbers (…) in the form of the output_mode."""
        return encode(numbers, self.output_mode, self.depth())

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        return encoded_shape(input_shape, self.output_mode, self.depth())


def encode(numbers: Tensor, mode: str, depth: int) -> Tensor:
    """Numbers (…) as they are, as one vector each, or as one vector for all in dimension 1, as in Keras.

    Args:
        numbers: of categories; -1 for one that vectors leave out.
        mode: "int", "one_hot", "multi_hot" or "count"; depth: the size of a vector.
    """
    if mode == "int":
        return numbers
    numbers = numbers.reshape(1) if numbers.dim() == 0 else numbers
    if mode == "one_hot" and numbers.dim() > 1 and numbers.shape[-1] == 1:
        numbers = numbers.squeeze(-1)
    vectors = F.one_hot(numbers + 1, depth + 1)[..., 1:].to(torch.get_default_dtype())
    if mode == "one_hot":
        return vectors
    axis = min(1, numbers.dim() - 1)
    return vectors.amax(axis) if mode == "multi_hot" else vectors.sum(axis)


def encoded_shape(shape: Sequence[int | None], mode: str, depth: int) -> tuple[int | None, ...]:
    """The shape of what `encode` makes of numbers of this shape."""
    if mode == "int":
        return tuple(shape)
    if mode == "one_hot" and not (len(shape) > 1 and shape[-1] == 1):
        return (*shape, depth)
    if mode == "one_hot":
        return (*shape[:-1], depth)
    return (*shape[:1], *shape[2:], depth) if len(shape) > 1 else (depth,)


def check_dense(layer: str, sparse: bool) -> bool:
    """False; an error for sparse outputs."""
    if sparse:
        raise errors.value_error(f"sparse of {layer}", "False", sparse, "outputs are dense tensors")
    return False


def _checked_salt(salt: Any) -> tuple[int, int] | None:
    """The two numbers of a key, of one number twice."""
    if salt is None or isinstance(salt, int):
        return None if salt is None else (salt, salt)
    if isinstance(salt, (list, tuple)) and len(salt) == 2:
        return int(salt[0]), int(salt[1])
    raise errors.value_error("salt", "a number or two", repr(salt), "or leave it out")


class Hashing(CategoryLayer):
    """A number from 0 to below num_bins for every text or whole number, by a hash: keras.layers.Hashing.

    The numbers are those of Keras and TensorFlow on every machine: FarmHash's fingerprint modulo num_bins.

    Args:
        num_bins: the number of bins, that of mask_value among them.
        mask_value: the value that gets bin 0, which no other then gets; None for none.
        salt: a number or two, the key of SipHash in the place of FarmHash.
        output_mode: "int"; "one_hot" for a vector a value; "multi_hot" and "count" for a vector a row.
        sparse: accepted for False.

    >>> Hashing(3)([["A"], ["B"], ["E"]]).tolist()
    [[1], [0], [2]]
    """

    def __init__(
        self,
        num_bins: int,
        mask_value: Any = None,
        salt: int | Sequence[int] | None = None,
        output_mode: str = "int",
        sparse: bool = False,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        self.num_bins = errors.check_int("num_bins", num_bins, 1, "give the number of bins")
        self.mask_value, self._key = mask_value, _checked_salt(salt)
        self.output_mode = errors.check_choice("output_mode", output_mode, _MODES[:-1])
        self.sparse = check_dense(self.name, sparse)

    def number_of(self, value: Any) -> int:
        if isinstance(value, float):
            way_out = "round them, or turn them into texts"
            raise errors.type_error(f"input of {self.name}", "texts or whole numbers", value, way_out)
        masks = self.mask_value is not None and self.num_bins > 1
        if masks and value == self.mask_value:
            return 0
        return hash_bucket(str(value), self.num_bins - masks, self._key) + masks

    def depth(self) -> int:
        return self.num_bins


class Lookup(CategoryLayer):
    """The number of a value in a vocabulary. Abstract: subclasses say which values there are.

    The numbers of values outside of the vocabulary come before those of its values, and number 0 is the
    mask_token where there is one and the output_mode is "int".
    """

    kind: ClassVar[type]

    def __init__(
        self,
        max_tokens: int | None,
        num_oov_indices: int,
        mask_token: Any,
        oov_token: Any,
        vocabulary: Any,
        idf_weights: Any,
        *,
        invert: bool,
        output_mode: str,
        pad_to_max_tokens: bool,
        sparse: bool,
        salt: Any,
        shared: LayerOptions,
    ) -> None:
        super().__init__(**shared)
        older = {"binary": "multi_hot", "tf-idf": "tf_idf"}
        self.output_mode = errors.check_choice("output_mode", older.get(output_mode, output_mode), _MODES)
        self.invert = errors.check_bool("invert", invert)
        if invert and self.output_mode != "int":
            raise errors.value_error("output_mode", '"int" beside invert', output_mode, "leave it out")
        self.sparse, self.salt = check_dense(self.name, sparse), _checked_salt(salt)
        way_out = "give a number, or leave it out"
        self.num_oov_indices = errors.check_int("num_oov_indices", num_oov_indices, 0, way_out)
        self.mask_token, self.oov_token = mask_token, oov_token
        least = self._first() + 1
        self.max_tokens = (
            None if max_tokens is None else errors.check_int("max_tokens", max_tokens, least, way_out)
        )
        self.pad_to_max_tokens = errors.check_bool("pad_to_max_tokens", pad_to_max_tokens)
        if pad_to_max_tokens and max_tokens is None:
            raise errors.value_error("max_tokens", "a number beside pad_to_max_tokens", None, "give one")
        if idf_weights is not None and self.output_mode != "tf_idf":
            way_out = "leave them out"
            raise errors.value_error("idf_weights", 'None without output_mode="tf_idf"', "weights", way_out)
        self._tokens: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._weights: Tensor | None = None
        if vocabulary is not None:
            self.set_vocabulary(vocabulary, idf_weights)

    def _first(self) -> int:
        """The number of the vocabulary's first value."""
        return self._first_unknown() + self.num_oov_indices

    def _first_unknown(self) -> int:
        return int(self.mask_token is not None and self.output_mode == "int")

    def set_vocabulary(self, vocabulary: Any, idf_weights: Any = None) -> None:
        """Take these values in this order.

        Args:
            vocabulary: the values, those for the mask and for unknown ones at their start or not among them;
                or a file with one in every line.
            idf_weights: for output_mode "tf_idf", the weight of every value.

        Raises:
            ValueError: a value comes twice, there are more than max_tokens, or weights are missing.
        """
        values = vocabulary
        if isinstance(values, (str, Path)):
            values = Path(values).read_text(encoding="utf-8").splitlines()
        tokens = [self.kind(value) for value in np.asarray(values).tolist()]
        special = [self.mask_token] if self._first_unknown() else []
        special += [self.oov_token] * self.num_oov_indices
        if special and tokens[: len(special)] == special:
            tokens = tokens[len(special) :]
        twice = next((token for token, count in Counter(tokens).items() if count > 1), None)
        if twice is not None:
            raise errors.value_error("vocabulary", "every value once", f"{twice!r} twice", "leave one out")
        if self.max_tokens is not None and self._first() + len(tokens) > self.max_tokens:
            received = f"{self._first() + len(tokens)} with the special ones"
            raise errors.value_error("vocabulary", f"at most {self.max_tokens}", received, "raise max_tokens")
        self._take(tokens, idf_weights)

    def _take(self, tokens: list[Any], weights: Any) -> None:
        if self.output_mode == "tf_idf" and (weights is None or len(weights) != len(tokens)):
            received = "none" if weights is None else f"{len(weights)}"
            way_out = "give idf_weights, or call adapt"
            raise errors.value_error("idf_weights", f"{len(tokens)}, one a value", received, way_out)
        self._tokens = tokens
        self._numbers = {token: number for number, token in enumerate(tokens, self._first())}
        self._options["vocabulary"] = list(tokens)
        if self.output_mode == "tf_idf":
            known = torch.as_tensor(np.asarray(weights), dtype=torch.get_default_dtype())
            self._weights = torch.cat([known.mean().repeat(self.num_oov_indices), known])
            self._options["idf_weights"] = known.tolist()

    def adapt(self, data: Any, steps: int | None = None) -> None:
        """Take the values of data, the most frequent ones first, equally frequent ones from the largest on.

        Args:
            data: values in a list, array or tensor (N, …); or an iterable of batches of such.
            steps: the number of batches, None for all.
        """
        counts: Counter[Any] = Counter()
        rows: Counter[Any] = Counter()  # value -> the rows that have it
        total = 0
        for batch in batches_of_values(data, steps):
            values = np.asarray(batch.cpu() if isinstance(batch, Tensor) else batch)
            table = values.reshape(len(values), -1)
            total += len(table)
            counts.update(self.kind(value) for value in table.reshape(-1).tolist())
            rows.update(self.kind(value) for row in table for value in set(row.tolist()))
        for special in (self.mask_token, self.oov_token):
            counts.pop(special, None)
        order = sorted(counts, key=lambda value: (counts[value], value), reverse=True)
        tokens = order[: None if self.max_tokens is None else self.max_tokens - self._first()]
        weights = [float(np.log1p(total / (1 + rows[token]))) for token in tokens]
        self._take(tokens, weights)

    def get_vocabulary(self, include_special_tokens: bool = True) -> list[Any]:
        """The values by their numbers, the mask and the unknown ones before them."""
        mask = [self.mask_token] * self._first_unknown()
        special = [*mask, *[self.oov_token] * self.num_oov_indices] if include_special_tokens else []
        return [*special, *self._tokens]

    def vocabulary_size(self) -> int:
        """The number of values with the mask and the unknown ones."""
        return self._first() + len(self._tokens)

    def depth(self) -> int:
        return self.max_tokens if self.pad_to_max_tokens and self.max_tokens else self.vocabulary_size()

    def number_of(self, value: Any) -> int:
        value = self.kind(value)
        if self.mask_token is not None and value == self.mask_token:
            return 0 if self.output_mode == "int" else -1
        if value in self._numbers:
            return self._numbers[value]
        if not self.num_oov_indices:
            expected, way_out = "values of the vocabulary", "give num_oov_indices"
            raise errors.value_error(f"input of {self.name}", expected, repr(value), way_out)
        return self._first_unknown() + (self.bucket(value) if self.num_oov_indices > 1 else 0)

    def bucket(self, value: Any) -> int:
        """Which of several numbers for unknown values a value gets."""
        return hash_bucket(str(value), self.num_oov_indices, self.salt)

    def call(self, x: Any, mask: Any) -> Any:
        return super().call(x, mask) if not self.invert else self.inverted(x)

    def inverted(self, x: Any) -> Any:
        """The values of numbers."""
        names = self.get_vocabulary()
        numbers = np.asarray(x.cpu() if isinstance(x, Tensor) else x)
        flat = [names[n] if 0 <= n < len(names) else self.oov_token for n in numbers.reshape(-1).tolist()]
        return np.array(flat, dtype=object).reshape(numbers.shape).tolist()

    def encoded(self, numbers: Tensor) -> Tensor:
        vectors = super().encoded(numbers)
        if self._weights is None:
            return vectors
        return vectors * F.pad(self._weights, (0, vectors.shape[-1] - len(self._weights)))


def batches_of_values(data: Any, steps: int | None) -> Iterable[Any]:
    """Arrays or lists of values, from one of them or from an iterable of batches."""
    if isinstance(data, (list, tuple, np.ndarray, Tensor)):
        return [data]
    if isinstance(data, _Numbered):  # iterating it by numbers would not end
        steps = len(data) if steps is None else steps
        return (data[index] for index in range(steps))
    return islice(data, steps)


@runtime_checkable
class _Numbered(Protocol):
    """A data set that gives batches by their numbers, such as a PyDataset."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


class StringLookup(Lookup):
    """Texts as their numbers in a vocabulary, or the other way round: keras.layers.StringLookup.

    Called on a list or array of texts, before a model: tensors hold no texts.

    Args:
        max_tokens: the largest size of the vocabulary, with the special texts; None for all.
        num_oov_indices: the numbers for texts that are not in the vocabulary, among which a hash chooses.
        mask_token: the text that gets number 0, or no place in a vector; None for none.
        oov_token: what a number of an unknown text is called.
        vocabulary: the texts in order, or a file of them, in the place of `adapt`.
        idf_weights: their weights, for output_mode "tf_idf".
        invert: from numbers to texts, a list.
        output_mode: "int"; "one_hot" for a vector a text; "multi_hot", "count" and "tf_idf" for a vector a
            row.
        pad_to_max_tokens: make vectors as long as max_tokens.
        sparse: accepted for False.
        encoding: accepted for "utf-8".
        salt: a number or two, the key of the hash.

    >>> layer = StringLookup(vocabulary=["a", "b"])
    >>> layer([["a", "z"], ["b", "a"]]).tolist(), layer.get_vocabulary()
    ([[1, 0], [2, 1]], ['[UNK]', 'a', 'b'])
    """

    kind = str

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: str | None = None,
        oov_token: str = "[UNK]",
        vocabulary: Any = None,
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        pad_to_max_tokens: bool = False,
        sparse: bool = False,
        encoding: str = "utf-8",
        salt: int | Sequence[int] | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        errors.check_choice("encoding", encoding, ("utf-8",))
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert=invert,
            output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens, sparse=sparse, salt=salt,
            shared=shared,
        )  # fmt: skip


class IntegerLookup(Lookup):
    """Whole numbers as their numbers in a vocabulary, or the other way round: keras.layers.IntegerLookup.

    Args:
        max_tokens, num_oov_indices, vocabulary, idf_weights, invert, output_mode, pad_to_max_tokens, sparse,
            salt: as for `StringLookup`.
        mask_token: the number that gets number 0, or no place in a vector; None for none.
        oov_token: what a number of an unknown one stands for.
        vocabulary_dtype: accepted for "int64".
        oov_method: how one of several num_oov_indices is chosen: "floormod" by the remainder, "farmhash" by a
            hash of the digits.

    >>> IntegerLookup(vocabulary=[12, 36])([36, 7]).tolist()
    [2, 0]
    """

    kind = int

    def __init__(
        self,
        max_tokens: int | None = None,
        num_oov_indices: int = 1,
        mask_token: int | None = None,
        oov_token: int = -1,
        vocabulary: Any = None,
        vocabulary_dtype: str = "int64",
        idf_weights: Any = None,
        invert: bool = False,
        output_mode: str = "int",
        sparse: bool = False,
        pad_to_max_tokens: bool = False,
        oov_method: str = "floormod",
        salt: int | Sequence[int] | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        errors.check_choice("vocabulary_dtype", vocabulary_dtype, ("int64",))
        self.__dict__["oov_method"] = errors.check_choice("oov_method", oov_method, ("floormod", "farmhash"))
        if salt is not None and oov_method != "farmhash":
            raise errors.value_error("salt", 'None without oov_method="farmhash"', salt, "leave it out")
        super().__init__(
            max_tokens, num_oov_indices, mask_token, oov_token, vocabulary, idf_weights, invert=invert,
            output_mode=output_mode, pad_to_max_tokens=pad_to_max_tokens, sparse=sparse, salt=salt,
            shared=shared,
        )  # fmt: skip

    oov_method: str

    def bucket(self, value: Any) -> int:
        return value % self.num_oov_indices if self.oov_method == "floormod" else super().bucket(value)

    def inverted(self, x: Any) -> Tensor:
        return torch.tensor(super().inverted(x), dtype=torch.int64)
