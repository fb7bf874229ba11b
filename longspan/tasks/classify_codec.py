"""Knows texts, series and labels as tensors, and scores as calibrated probabilities."""

from __future__ import annotations

import copy
import math
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import checks
from longspan.branches import Wide
from longspan.data.batches import Batch
from longspan.data.examples import Example, order
from longspan.data.ngrams import NGrams
from longspan.data.ragged import Ragged, by_length
from longspan.data.scale import Scaler
from longspan.data.text import BPE, SPECIAL, UNKNOWN, Characters, Words, tokenizer

from .classify_score import calibration_error
from .estimator import Codec

UNITS = ("words", "bpe", "characters")
IGNORED = -100  # the label of a step that does not count, torch's own
_LONGEST = {"words": 2, "bpe": 2, "characters": 4}  # units of an n-gram where nobody says
STRENGTHS = (1.0, 10.0, 100.0)  # that are tried, see `Wide.learn`; the middle one where nothing is held out
_SHARES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)  # of the linear model's scores that are tried
_NEW_WORDS = 0.25  # share of running words unknown in unseen texts above which words are too rare as units
_TEMPERATURES = [round(one, 6) for one in np.logspace(-1.3, 1.3, 131).tolist()]  # that are tried
_SHAPES = 16  # lengths of batches are multiples of it: a convolution is prepared for each anew
_STEPS = 32  # optimizer steps an epoch at least
_AHEAD = 16  # batches made at once: twice as quick as one between two steps, which empty the caches


class Coding(Codec):
    """Examples to tensors and scores to probabilities.

    Args:
        units: "words", "bpe" or "characters", None for found: characters where the median text has at most
            two words (names), byte pairs where it is long without a blank or where over a quarter of the
            running words of every tenth text are not in the others, else words.
        vocabulary: units at most; subwords: vectors that n-grams share, for words only; length: steps read at
            most, None for the longest in training.
        lower: whether the case of words is dropped, None for where their vectors are known from a file.
        ngrams: units of the longest n-gram that is a feature by itself, 0 for no such features, None for 2,
            of characters 4. Where words keep their case and some have capitals, those of the words'
            outlines are features too, one longer.
        known: whether words' vectors come from a file.

    Attributes after fit: kind ("one", "many" or "steps" labels), classes, counts (records a class, steps for
    "steps"), words (the tokenizer) and features (n-grams, None for none) or scaler, span (mean and deviation
    of the logarithms of the series' lengths where these differ and each series has one answer: the length is
    a channel then, as it may tell the class and pooling forgets it); after calibration: temperature and
    calibration.
    """

    def __init__(
        self,
        units: str | None = None,
        vocabulary: int | None = None,
        *,
        lower: bool | None = None,
        subwords: int = 0,
        ngrams: int | None = 0,
        length: int | None = None,
        known: bool = False,
    ) -> None:
        self.units, self.vocabulary, self.length = units, vocabulary, length
        self.lower = known if lower is None else lower
        self.subwords, self.ngrams, self.known = subwords, ngrams, known
        self.words: Any = None
        self.features: NGrams | None = None
        self.strength, self.share = STRENGTHS[1], 1.0  # of the linear model of n-grams
        self.wides = dict[float, Wide]()  # it, by its strength
        self.scaler: Scaler | None = None
        self.span: list[float] | None = None
        self.temperature, self.calibration = 1.0, {}
        self.records = self.embedding = 0  # trained on; values of a vector from a file
        self._grams: dict[str, list[int]] = {}

    # ---- learnt

    def fit(self, records: Sequence[Example]) -> Self:
        """Labels, vocabulary or scale, out of the training part.

        Raises:
            ValueError: there is one class only, texts and series are mixed, a channel is NaN only, or no text
                has a word; one sentence.
        """
        self._fit_labels(records)
        inputs = [record.input for record in records]
        series = {isinstance(one, np.ndarray) for one in inputs}
        if len(series) > 1:
            raise checks.wrong("source", "texts or series", "both", "train on one kind")
        if series == {True}:
            _same_width(inputs, inputs[0].shape[1])
            self.scaler = Scaler().fit(np.concatenate(inputs))
            holes = sum(int(np.isnan(one).sum()) for one in inputs)
            if holes:
                checks.note(f"{holes} missing readings are taken as their channel's mean")
        else:
            self._fit_words(inputs)
            self.fit_features(records)
        self.length = self.length or max(1, max(len(row) for row in self._rows(inputs)))
        if series == {True} and self.kind != "steps":
            logs = np.log([min(len(one), self.length) for one in inputs])
            self.span = [float(logs.mean()), float(logs.std())] if logs.std() > 0.01 else None
        return self

    def follow(self, other: Coding, records: Sequence[Example]) -> Self:
        """Fit it to more records than another one, with its units, and keep what that one was told by those
        then held out: the calibration, and the strength and share of the linear model."""
        self.units, self.embedding, self.records = other.units, other.embedding, len(records)
        self.strength, self.share = other.strength, other.share
        self.temperature, self.calibration = other.temperature, other.calibration
        return self.fit(records)

    def _fit_labels(self, records: Sequence[Example]) -> None:
        first = records[0].label
        self.kind = "many" if isinstance(first, tuple) else "steps" if isinstance(first, list) else "one"
        counted = Counter(label for record in records for label in self._each(record.label))
        self.classes = sorted(counted, key=order)
        self.counts = [counted[one] for one in self.classes]
        if len(self.classes) < (1 if self.kind == "many" else 2):
            received = f"{self.classes[0]!r} alone" if self.classes else "none"
            raise checks.wrong("label", "at least two classes", received, "add records of another class")

    def _each(self, label: Any) -> Sequence[Any]:
        if self.kind == "one":
            return (label,)
        if not isinstance(label, (tuple, list)):
            raise checks.wrong("label", "labels of one form in all rows", repr(label), "correct the row")
        return label

    def _fit_words(self, inputs: list[Any]) -> None:
        if isinstance(inputs[0], list):  # given word by word
            self.units, self.words = "words", _Given(self.lower).fit(inputs)
            return
        self.units = self.units or _units(inputs, self.lower)
        if self.units == "characters":
            self.words = Characters(self.vocabulary, lower=False).fit(inputs)
        elif self.units == "bpe":
            self.words = BPE(self.vocabulary or 8000).fit(inputs)
        else:
            least = 2 if self.subwords and not self.known else 1
            try:
                self.words = Words(self.vocabulary, lower=self.lower, least=least).fit(inputs)
            except ValueError:
                self.words = Characters(self.vocabulary).fit(inputs)
        if self.units != "words":
            self.subwords = 0

    def fit_features(self, records: Sequence[Example]) -> None:
        """Which n-grams there are in the records' texts."""
        assert self.units is not None
        longest = _LONGEST[self.units] if self.ngrams is None else self.ngrams
        if longest and self.kind != "steps":
            texts = [self._units_of(record.input) for record in records]
            cased = self.units == "words" and any(unit != unit.lower() for text in texts for unit in text)
            self.features = NGrams(longest, outlined=longest + 1 if cased else 0).fit(texts)

    @property
    def sizes(self) -> dict[str, Any]:
        series = self.scaler is not None and self.scaler.center_ is not None
        return {
            "inputs": len(self.scaler.center_) + (self.span is not None) if series else 0,  # pyright: ignore
            "vocabulary": 0 if series else self.words.size,
            "subwords": 0 if series else self.subwords,
            "features": 0 if self.features is None else self.features.size,
            "runs": () if self.features is None else self.features.runs,
            "embedding": self.embedding,
            "classes": len(self.classes),
            "records": self.records,
            "steps": self.kind == "steps",
            "many": self.kind == "many",
        }

    # ---- to tensors

    def rows(self, records: Sequence[Example]) -> list[Tensor]:
        """The inputs in code: numbers (T_i,) of units or scaled readings (T_i, D), cut to the length read."""
        return [torch.as_tensor(row) for row in self._rows([record.input for record in records])]

    def _rows(self, inputs: list[Any]) -> list[Any]:
        if self.scaler is not None and self.scaler.center_ is not None:
            width = len(self.scaler.center_)
            _same_width(inputs, width)
            scaled = [np.nan_to_num(self.scaler.transform(one), nan=0.0) for one in inputs]
            return [self._with_length(torch.from_numpy(one[: self.length])) for one in scaled]
        for row, one in enumerate(inputs):
            if isinstance(one, np.ndarray):
                raise checks.wrong("source", "texts as in training", f"a series in row {row}", "pass texts")
        return [torch.tensor(self.words.encode(one)[: self.length], dtype=torch.int64) for one in inputs]

    def _with_length(self, row: Tensor) -> Tensor:
        if self.span is None:
            return row
        mean, deviation = self.span
        return torch.cat([row, row.new_full((len(row), 1), (math.log(len(row)) - mean) / deviation)], 1)

    def pieces(self, text: Any) -> list[str]:
        """The units that a text is cut into, those unknown among them."""
        if self.units == "bpe":
            return [self.words.decode([number]) for number in self.words.encode(text)][: self.length]
        return list(self.words._cut(text))[: self.length]

    def _units_of(self, text: Any) -> list[str]:
        """What n-grams are runs of: the units, byte pairs by their numbers."""
        if self.units == "bpe":
            return [str(number) for number in self.words.encode(text)][: self.length]
        return self.pieces(text)

    def featured(self, records: Sequence[Example]) -> tuple[Ragged, Ragged] | None:
        """The n-grams of every text, numbers (T_i, n) and weights (T_i, n); None where there are none."""
        if self.features is None:
            return None
        numbers, weights, lengths = self.features([self._units_of(record.input) for record in records])
        cuts = lengths.tolist()
        return Ragged(torch.from_numpy(numbers).split(cuts)), Ragged(torch.from_numpy(weights).split(cuts))

    def grams(self, word: str) -> list[int]:
        """The buckets of a word's n-grams of 3 to 5 characters, its ends marked."""
        if word not in self._grams:
            marked = f"<{word}>"
            spans = (marked[i : i + n] for n in (3, 4, 5) for i in range(len(marked) - n + 1))
            found = [zlib.crc32(span.encode("utf-8", "surrogatepass")) % self.subwords for span in spans]
            self._grams[word] = found or [zlib.crc32(marked.encode()) % self.subwords]
        return self._grams[word]

    def targets(self, records: Sequence[Example]) -> list[Tensor]:
        """The labels in code, one tensor a record: a number, C zeros and ones, or a number a step."""
        known = {label: number for number, label in enumerate(self.classes)}
        found: list[Tensor] = []
        for row, record in enumerate(records):
            each = self._each(record.label)
            for label in each:
                if label not in known:
                    shown = ", ".join(map(repr, self.classes[:10])) + (
                        ", …" if len(self.classes) > 10 else ""
                    )
                    received = f"{label!r} in row {row}"
                    raise checks.wrong(
                        "label", f"a class of training ({shown})", received, "train with rows of it"
                    )
            numbers = torch.tensor([known[label] for label in each], dtype=torch.int64)
            if self.kind == "many":
                found.append(torch.zeros(len(self.classes)).index_fill_(0, numbers, 1.0))
            else:
                found.append(numbers[0] if self.kind == "one" else numbers[: self.length])
        return found

    def truth(self, records: Sequence[Example]) -> Any:
        """(N,) class numbers, (N, C) zeros and ones, or for "steps" a list of (T_i,) class numbers."""
        found = self.targets(records)
        return [one.numpy() for one in found] if self.kind == "steps" else torch.stack(found).numpy()

    # ---- back

    def decode(self, coded: list[Any], records: Sequence[Example]) -> Any:
        """Probabilities (N, C), calibrated; for "steps" a list of (T_i, C)."""
        if self.kind == "steps":
            rows = [row for part in coded for row in self._shares(part)]
            lengths = [len(row) for row in self._rows([record.input for record in records])]
            return [row[:length] for row, length in zip(rows, lengths, strict=True)]
        return self._shares(torch.cat(coded))

    def _shares(self, scores: Tensor) -> np.ndarray:
        cooled = scores.double() / self.temperature
        return (cooled.sigmoid() if self.kind == "many" else cooled.softmax(-1)).cpu().numpy()

    def learn_temperature(self, coded: list[Tensor], records: Sequence[Example]) -> None:
        """One number that all scores are divided by, so that the held-out labels are likeliest.

        Guo et al. 2017 (arXiv 1706.04599); what it changed is kept in `calibration`.
        """
        scores = torch.cat(
            [
                part.reshape(-1, part.shape[-1]) if self.kind != "many" else part
                for part in _flat(coded, self, records)
            ]
        )
        truth = torch.from_numpy(
            np.concatenate(self.truth(records)) if self.kind == "steps" else self.truth(records)
        )
        before = self._error(scores, truth)
        self.temperature = self._coolest(scores, truth)[1]
        self.calibration = {"before": before, "after": self._error(scores, truth), "rows": len(records)}

    def _likelihood(self, scores: Tensor, truth: Tensor) -> float:
        if self.kind == "many":
            return float(torch.nn.functional.binary_cross_entropy_with_logits(scores, truth))
        return float(torch.nn.functional.cross_entropy(scores, truth))

    def _error(self, scores: Tensor, truth: Tensor) -> float:
        return calibration_error(self._shares(scores), truth.numpy())

    # ---- the linear member

    def linear(
        self, records: Sequence[Example], strengths: Sequence[float], *, balanced: bool
    ) -> dict[float, Wide]:
        """Linear models of the records' n-grams by their strength, each fitted from the one before on."""
        joined, y, importance = self._joined(records), torch.stack(self.targets(records)), None
        if balanced:
            importance = importances(y, torch.tensor(self.counts, dtype=torch.float32), len(records))
        sizes = self.sizes
        wide, found = Wide(sizes["features"], len(self.classes), sizes["runs"]), {}
        for strength in strengths:
            wide = copy.deepcopy(wide).learn(*joined, y, strength=strength, importance=importance)
            found[strength] = wide
        return found

    def _joined(self, records: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """The n-grams of all records end to end: numbers, weights, and where each record's begin."""
        found = self.featured(records)
        assert found is not None
        numbers, weights = found
        width = numbers.values.shape[1]
        return numbers.values.flatten(), weights.values.flatten(), numbers.starts * width

    def learn_shares(
        self, coded: list[Tensor], wides: Mapping[float, Wide], records: Sequence[Example]
    ) -> Wide:
        """Which linear model, and how much of it, makes the held-out labels likeliest beside the readers.

        Args:
            coded: the readers' scores of the records; wides: strength -> a model fitted with it.
        """
        scores, truth = torch.cat(coded), torch.from_numpy(self.truth(records))
        joined, best = self._joined(records), math.inf
        chosen = wides[self.strength]
        for strength, wide in wides.items():
            own = wide.scores(*joined)
            for share in _SHARES:
                loss = self._coolest(scores + share * own, truth)[0]
                if loss < best:
                    best, chosen, self.strength, self.share = loss, wide, strength, share
                    wide.share.fill_(share)
        return chosen

    def _coolest(self, scores: Tensor, truth: Tensor) -> tuple[float, float]:
        """The least mean loss that a temperature gives, and the temperature."""
        return min((self._likelihood(scores / one, truth), one) for one in _TEMPERATURES)

    # ---- kept

    def state(self) -> dict[str, Any]:
        scaled = None if self.scaler is None else self.scaler.state()
        return {
            "kind": self.kind,
            "classes": list(self.classes),
            "counts": list(self.counts),
            "units": self.units,
            "words": None if self.words is None else self.words.state(),
            "scaler": scaled,
            "subwords": self.subwords,
            "features": None if self.features is None else self.features.state(),
            "length": self.length,
            "span": self.span,
            "records": self.records,
            "embedding": self.embedding,
            "temperature": self.temperature,
            "calibration": dict(self.calibration),
        }

    def restore(self, state: Any) -> Self:
        for name in state.keys() - {"words", "scaler", "features"}:
            setattr(self, name, state[name])
        if state["words"] is not None:
            given = state["words"]["kind"] == "given"
            self.words = _Given.of(state["words"]) if given else tokenizer(state["words"])
        if state.get("features") is not None:
            self.features = NGrams.of(state["features"])
        if state["scaler"] is not None:
            self.scaler = Scaler.from_state(state["scaler"])
        return self


class _Given:
    """Words that come one by one, as they are: those of tagging."""

    def __init__(self, lower: bool) -> None:
        self.lower, self.tokens = lower, list(SPECIAL)

    def fit(self, texts: list[list[str]]) -> _Given:
        counted = Counter(word for text in texts for word in self._cut(text))
        self._take([*SPECIAL, *sorted(counted, key=lambda word: (-counted[word], word))])
        return self

    def _take(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self._index = {token: number for number, token in enumerate(tokens)}

    @property
    def size(self) -> int:
        return len(self.tokens)

    def _cut(self, text: list[str]) -> list[str]:
        return [word.lower() for word in text] if self.lower else list(text)

    def encode(self, text: list[str]) -> list[int]:
        return [self._index.get(word, SPECIAL.index(UNKNOWN)) for word in self._cut(text)]

    def state(self) -> dict[str, Any]:
        return {"kind": "given", "lower": self.lower, "tokens": self.tokens}

    @classmethod
    def of(cls, state: dict[str, Any]) -> _Given:
        made = cls(state["lower"])
        made._take(list(state["tokens"]))
        return made


def _flat(coded: list[Tensor], codec: Coding, records: Sequence[Example]) -> list[Tensor]:
    """Scores (B, C), of real steps alone where every step has some."""
    if codec.kind != "steps":
        return coded
    rows = [row for part in coded for row in part]
    return [row[: len(truth)] for row, truth in zip(rows, codec.truth(records), strict=True)]


def _units(texts: list[str], lower: bool) -> str:
    """Which units suit the texts, see `Coding`."""
    if np.median([len(text.split()) for text in texts]) <= 2:
        spaceless = np.mean([len(text) for text in texts]) > 40  # whole sentences without blanks
        return "bpe" if spaceless else "characters"
    seen, other = texts[::10], [text for place, text in enumerate(texts) if place % 10]
    if not any(text.strip() for text in other):
        return "characters"
    words = Words(lower=lower).fit(other)
    numbers = [number for text in seen for number in words.encode(text)]
    unknown = numbers.count(SPECIAL.index(UNKNOWN)) / max(1, len(numbers))
    return "bpe" if unknown > _NEW_WORDS and len(texts) >= 1000 else "words"


def _same_width(inputs: list[Any], width: int) -> None:
    for row, one in enumerate(inputs):
        if not isinstance(one, np.ndarray):
            raise checks.wrong("source", "series as in training", f"a text in row {row}", "pass series")
        if one.shape[1] != width:
            received = f"{one.shape[1]} in row {row}"
            raise checks.wrong(
                "source", f"{width} channels in every series", received, "pass as many as in training"
            )


class Dealt:
    """Examples in batches, see `Estimator.batches`.

    In training texts of about one length come together; series do not, since length may tell the class and
    batch normalisation needs batches that are like the whole. Few records are gone through several times an
    epoch, and few make small batches: an eighth of them, at least 16.

    Args:
        balanced: whether a row (a step, each of many labels) counts the more, the fewer its class has.
    """

    def __init__(
        self,
        codec: Coding,
        records: Sequence[Example],
        batch_size: int,
        *,
        train: bool,
        balanced: bool = False,
    ) -> None:
        self.codec, self.train = codec, train
        self.batch_size = min(batch_size, max(16, len(records) // 8)) if train else batch_size
        self.rows = Ragged(codec.rows(records))
        labelled = all(record.label is not None for record in records)
        targets = codec.targets(records) if labelled else None
        self.steps = Ragged(targets) if targets is not None and codec.kind == "steps" else None
        self.y = torch.stack(targets) if targets is not None and codec.kind != "steps" else None
        self.counts = torch.tensor(codec.counts, dtype=torch.float32) if train and balanced else None
        self._take_words(records)
        self.features = None if train else codec.featured(records)  # they are for answers alone
        self._batches = -(-len(records) // self.batch_size)
        self._passes = -(-_STEPS // self._batches) if train else 1

    def _take_words(self, records: Sequence[Example]) -> None:
        """Every different word's number among them all, and its n-grams."""
        self.places: Ragged | None = None
        if not self.codec.subwords or not self.codec.words:
            return
        index: dict[str, int] = {}
        rows = [
            torch.tensor([index.setdefault(word, len(index)) for word in self.codec.pieces(record.input)])
            for record in records
        ]
        self.places = Ragged([row.long() for row in rows])
        self.grams = Ragged(
            [torch.tensor(self.codec.grams(word)) for word in index] or [torch.zeros(1).long()]
        )

    def __len__(self) -> int:
        return self._batches * self._passes

    def __iter__(self) -> Iterator[Batch]:
        if not self.train:
            yield from map(self._batch, torch.arange(len(self.rows)).split(self.batch_size))
            return
        for _ in range(self._passes):
            order = self._order()
            while some := [self._batch(rows) for rows in islice(order, _AHEAD)]:
                yield from some

    def _order(self) -> Iterator[Tensor]:
        if self.codec.scaler is None:
            return by_length(self.rows.lengths, self.batch_size)
        return iter(torch.randperm(len(self.rows)).split(self.batch_size))

    def _batch(self, rows: Tensor) -> Batch:
        x, lengths = self.rows.padded(rows, multiple=_SHAPES if self.codec.scaler else 1)
        y = self.y[rows] if self.y is not None else None
        if self.steps is not None:
            y = self.steps.padded(rows, IGNORED, multiple=_SHAPES if self.codec.scaler else 1)[0]
        weight = None if self.counts is None or y is None else importances(y, self.counts, len(self.rows))
        if self.places is not None:
            words, inverse = self.places.padded(rows)[0].unique(return_inverse=True)
            x = (x, inverse, *self.grams.joined(words))
        elif x.dtype == torch.float64:
            x = x.float()
        if self.features is not None:
            x = (*(x if isinstance(x, tuple) else (x,)), *(part.padded(rows)[0] for part in self.features))
        return Batch(x, y, lengths=lengths, weight=weight)


def importances(y: Tensor, counts: Tensor, rows: int) -> Tensor:
    """How much each answer counts, 1 in the mean; for many labels its ones and zeros alike in sum.

    Args:
        y: answers in code; counts: (C,), answers a class; rows: records that these are of.
    """
    if y.is_floating_point():
        share = counts / rows
        return 0.5 / torch.where(y > 0, share, 1 - share).clamp_min(1e-6)
    return (counts.sum() / (len(counts) * counts))[y.clamp_min(0)]
