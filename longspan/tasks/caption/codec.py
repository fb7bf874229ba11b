"""The codec of a captioner: pictures as frames or features, captions as tokens, scores of captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.data.frame_features import FrameFeatures
from longspan.data.frames import FrameAugmentation, FrameFormat, FrameNormalizer
from longspan.metrics import captions as scores
from longspan.search import Hypothesis
from longspan.tasks.codec import Codec, Metrics, Tree

from .batches import CaptionBatches
from .network import PictureShape
from .reading import CaptionedPicture
from .sampling import consensus
from .tokens import CaptionTokens, find_level

_LARGEST = 96  # pixels of the longer side of found frames
_EPOCHS = (10, 50)  # that are found, at least and at most
_PICTURES_SEEN = 50_000  # in all epochs together, where that gives such a number
_SPARE = 10  # tokens that a caption may have beyond the longest in training

Truths = list[tuple[str, ...]]


class Caption(NamedTuple):
    """An answer: text; score: what the search ranks by, nearly a log-probability; numbers: its tokens'.

    attention: (tokens, cells) over the grid of the picture; None for no tokens.
    """

    text: str
    score: float
    numbers: tuple[int, ...] = ()
    attention: Tensor | None = None


class CaptionCodec(Codec[list[CaptionedPicture]]):
    """Pictures as what a network sees, and what it writes as captions.

    Args:
        token_level, max_tokens: as for `.tokens.CaptionTokens`; None for found.
        image_size: height and width that pictures are resized to; None for the median of the training
            pictures, at most 96 pixels.
        features: the user's model in the place of the convolutional net.
        augmentation: of training pictures.

    Attributes after fit: tokens, shape, normalizer; longest: tokens of the longest caption; weights: (V,)
    of tokens in the consensus of drawn captions; held_out: scores on the validation part.
    """

    def __init__(
        self,
        *,
        token_level: str | None = None,
        max_tokens: int | None = None,
        image_size: Sequence[int] | None = None,
        features: FrameFeatures | None = None,
        augmentation: FrameAugmentation | None = None,
    ) -> None:
        self.token_level, self.max_tokens = token_level, max_tokens
        self.image_size, self.features = image_size, features
        self.augmentation = augmentation or FrameAugmentation()
        self.tokens = CaptionTokens("words")
        self.format = FrameFormat(1, 1)
        self.shape = PictureShape(3, 1, 1)
        self.normalizer = FrameNormalizer()
        self.longest = self.pictures = 0
        self.weights = torch.zeros(0)
        self.held_out: dict[str, Any] = {}
        self._fitted_frames: tuple[list[CaptionedPicture], Tensor] | None = None

    # ---- learning

    def fit(self, train: list[CaptionedPicture], valid: list[CaptionedPicture] | None = None) -> Self:
        self.pictures = len(train)
        texts = [text for picture in train for text in picture.captions or ()]
        self.tokens = CaptionTokens(self.token_level or find_level(texts), self.max_tokens).fit(texts)
        self.longest = max(len(self.tokens.encode(text)) for text in texts)
        self.weights = _token_weights(train, self.tokens)
        height, width = self.image_size or _found_size([picture.pixels.shape for picture in train])
        channels = max(picture.pixels.shape[2] for picture in train)
        self.format = FrameFormat(height, width, channels)
        _note_sizes(train, height, width)
        frames = self.frames(train)
        self._fitted_frames = train, frames
        if self.features is None:
            self.normalizer.fit([frames])
            self.shape = PictureShape(channels, height, width)
        else:
            self.shape = _feature_shape(self.features(frames[:1]))
        return self

    @property
    def epochs(self) -> int:
        """So many that about 50,000 pictures are seen."""
        fewest, most = _EPOCHS
        return min(most, max(fewest, round(_PICTURES_SEEN / max(1, self.pictures))))

    @property
    def most_tokens(self) -> int:
        """Tokens that a caption may have: more than any in training has."""
        return self.longest + _SPARE

    # ---- pictures and captions to tensors

    def frames(self, records: Sequence[CaptionedPicture]) -> Tensor:
        """The pictures (N, C, H, W) uint8 in the form that was found in training."""
        if self._fitted_frames is not None and self._fitted_frames[0] is records:
            frames = self._fitted_frames[1]
            self._fitted_frames = None
            return frames
        return torch.cat([self.format(picture.pixels[np.newaxis]) for picture in records])

    def batches(self, records: list[CaptionedPicture], batch_size: int, *, train: bool) -> CaptionBatches:
        """Batches to train on, or to predict from."""
        known = all(picture.captions for picture in records)
        captions = [[self.tokens.encode(text) for text in picture.captions or ()] for picture in records]
        frames = self.frames(records)
        if self.features is not None:
            cells, view = _cells(self.features(frames), self.shape), _unchanged
        else:
            cells, view = frames, self._augmented if train else self.normalizer
        return CaptionBatches(
            cells, view, captions if known else None, self.tokens.size, batch_size, train=train,
            seeds=None if train else _seeds(frames),
        )  # fmt: skip

    def _augmented(self, frames: Tensor) -> Tensor:
        """Frames (N, C, H, W) uint8, each changed in its own way, then normalized."""
        drawn = [self.augmentation.draw(frames.shape[2], frames.shape[3])(frame) for frame in frames]
        return self.normalizer(torch.stack(drawn))

    # ---- hypotheses to captions

    def decode(
        self, predictions: list[list[list[Hypothesis]]], records: list[CaptionedPicture]
    ) -> list[Caption]:
        return [self._caption(self._chosen(row)) for part in predictions for row in part]

    def _chosen(self, found: list[Hypothesis]) -> Hypothesis:
        """The caption that is most similar to all captions of its picture; of equal ones the likeliest."""
        similar = consensus([one.tokens for one in found], self.weights).tolist()
        return max(zip(found, similar, strict=True), key=lambda pair: (round(pair[1], 5), pair[0].score))[0]

    def _caption(self, found: Hypothesis) -> Caption:
        attention = None if found.attention is None else found.attention.cpu()
        return Caption(self.tokens.decode(found.tokens), found.score, tuple(found.tokens), attention)

    def present(self, answers: list[Caption]) -> list[str]:
        return [answer.text for answer in answers]

    def as_table(self, answers: list[Caption], records: list[CaptionedPicture]) -> pl.DataFrame:
        """Columns row, image (null for an array), caption and score."""
        return pl.DataFrame(
            {
                "row": range(len(records)),
                "image": [picture.file for picture in records],
                "caption": [answer.text for answer in answers],
                "score": [answer.score for answer in answers],
            },
            schema_overrides={"image": pl.String, "caption": pl.String, "score": pl.Float64},
        )

    # ---- how good they are

    def truth(self, records: list[CaptionedPicture]) -> Truths:
        return [picture.captions or () for picture in records]

    def metrics(self) -> Metrics:
        cut: dict[str, Callable[[Any, Any], float]] = {
            **{f"bleu{n}": partial(_bleu, n) for n in (1, 2, 3, 4)},
            "rougeL": scores.rouge_l,
            "cider": scores.cider,
            "exact_match": _exact_match,
            "distinct": _distinct,
            "vocabulary": _vocabulary,
        }
        return {name: partial(self._score, metric) for name, metric in cut.items()}

    def _score(self, metric: Callable[[Any, Any], float], answers: Sequence[Caption], truth: Truths) -> float:
        """A metric of captions that are cut into tokens."""
        cut = self.tokens.scored
        return metric([cut(one.text) for one in answers], [[cut(text) for text in row] for row in truth])

    def scores_of_one_caption(self, truth: Truths) -> dict[str, float]:
        """The metrics of giving every picture the most frequent caption."""
        frequent, _ = Counter(text for texts in truth for text in texts).most_common(1)[0]
        answers = [Caption(frequent, 0.0)] * len(truth)
        return {name: float(metric(answers, truth)) for name, metric in self.metrics().items()}

    def note_unknown(self, records: Sequence[CaptionedPicture]) -> None:
        """Notices tokens in captions that no caption in training had, which are therefore never written."""
        known = set(self.tokens.tokenizer.tokens)
        unknown = {
            token
            for picture in records
            for text in picture.captions or ()
            for token in self.tokens.scored(text)
            if token not in known
        }
        if unknown:
            listed = ", ".join(map(repr, sorted(unknown)[:5])) + (" and others" if len(unknown) > 5 else "")
            errors.notice(
                f"{len(unknown)} {self.tokens.level} of the captions to compare with are not in the "
                f"vocabulary ({listed}); they are never written."
            )

    def state(self) -> dict[str, Any]:
        return {
            "tokens": self.tokens.state(),
            "format": list(self.format),
            "shape": list(self.shape),
            "normalizer": self.normalizer.state(),
            "features": None if self.features is None else self.features.state(),
            "longest": self.longest,
            "pictures": self.pictures,
            "weights": self.weights,
            "held_out": self.held_out,
        }

    def restore(self, state: Tree) -> Self:
        self.tokens = CaptionTokens.from_state(state["tokens"])
        self.format, self.shape = FrameFormat(*state["format"]), PictureShape(*state["shape"])
        self.normalizer.restore(state["normalizer"])
        if state["features"] is not None:
            cache = None if self.features is None else self.features.cache
            self.features = FrameFeatures.from_state(state["features"], cache)
        self.weights = state["weights"]
        self.longest, self.pictures = state["longest"], state["pictures"]
        self.held_out = state["held_out"]
        return self


def _found_size(shapes: Sequence[tuple[int, ...]]) -> tuple[int, int]:
    """The median height and width of pictures (H, W, C), scaled down to at most 96 pixels.

    >>> _found_size([(100, 192, 3), (20, 192, 3), (120, 192, 3)])
    (50, 96)
    """
    height, width = (float(np.median([shape[side] for shape in shapes])) for side in (0, 1))
    scale = min(1.0, _LARGEST / max(height, width))
    return max(2, round(height * scale)), max(2, round(width * scale))


def _token_weights(records: Sequence[CaptionedPicture], tokens: CaptionTokens) -> Tensor:
    """(V,) the logarithm of the number of pictures for one whose captions have the token, plus one."""
    counts = torch.ones(tokens.size)
    for picture in records:
        counts[list({number for text in picture.captions or () for number in tokens.encode(text)})] += 1
    return ((1 + len(records)) / counts).log() + 1


def _seeds(frames: Tensor) -> Tensor:
    """(N,) int64, by the bytes of each frame."""
    return torch.tensor([crc32(frame.numpy().tobytes()) for frame in frames], dtype=torch.int64)


def _note_sizes(records: Sequence[CaptionedPicture], height: int, width: int) -> None:
    sizes = {picture.pixels.shape[:2] for picture in records}
    if len(sizes) > 1:
        errors.notice(f"Pictures of {len(sizes)} sizes are resized to {height} x {width} pixels.")


def _feature_shape(features: Tensor) -> PictureShape:
    rows, columns = features.shape[2:] if features.dim() == 4 else (1, 1)
    return PictureShape(features.shape[1], rows, columns, True)


def _cells(features: Tensor, shape: PictureShape) -> Tensor:
    """The user's features as cells (N, S, F)."""
    if tuple(features.shape[1:]) not in (tuple(shape[:3]), (shape.channels,)):
        expected = f"({', '.join(map(str, shape[:3]))}) for each picture, as in training"
        received = tuple(features.shape[1:])
        raise errors.value_error("features", expected, received, "use the same model")
    return features.reshape(len(features), shape.channels, -1).transpose(1, 2)


def _unchanged(cells: Tensor) -> Tensor:
    return cells


def _bleu(order: int, answers: Sequence[scores.Tokens], truth: scores.References) -> float:
    return scores.bleu_scores(answers, truth)[order - 1]


def _exact_match(answers: Sequence[scores.Tokens], truth: scores.References) -> float:
    """Share of the captions that equal one of their references."""
    return float(np.mean([answer in row for answer, row in zip(answers, truth, strict=True)]))


def _distinct(answers: Sequence[scores.Tokens], truth: scores.References) -> float:
    return scores.distinct_share(answers)


def _vocabulary(answers: Sequence[scores.Tokens], truth: scores.References) -> float:
    return float(scores.vocabulary_used(answers))
