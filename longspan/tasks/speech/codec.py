"""The codec of a recognizer: features and labels of recordings, texts of emissions, WER and CER."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import polars as pl
import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.metrics import text
from longspan.tasks.codec import Codec, Metrics, Tree

from .batches import Augmentation, SpeechBatches, with_noise
from .decoding import Transcription
from .features import FRAME_SHIFT, LogMel, Normalizer
from .network import STRIDES, Emissions
from .reading import Recording
from .searcher import Searcher
from .sound_files import resample
from .tokens import SpeechTokens, find_level

_HIGHEST_RATE = 16_000  # samples a second that are found; speech has little above 8 kHz
_BINS = {8_000: 40}  # mel bins that are found by the rate up to which they are
_MOST_BINS = 80
_SPARE_STEPS = 1.25  # steps of a sound for each label that its text needs, at least, where strides are found
_LONGEST_STRIDE = 4  # that is found
_EPOCHS = (10, 100)  # that are found, at least and at most
_SECONDS_HEARD = 130_000.0  # of all epochs together, where that gives such a number
_WEIGHED_STEPS = 6000  # of the held-out part by which the weight of a language model is chosen, about
_FEW = 0.99  # share of the sounds that must have the spare steps


class SpeechCodec(Codec[list[Recording]]):
    """Recordings as features and labels, and what a network says about them as texts.

    Args:
        token_level, max_tokens, sample_rate, mel_bins, stride: as in `SpeechRecognizer`, None for found.
        searcher: the search for texts, with its language model.

    Attributes after fit: rate, bins, stride, normalizer, tokens; seconds: of all training sounds; held_out:
    scores on the validation part.
    """

    def __init__(
        self,
        *,
        token_level: str | None = None,
        max_tokens: int | None = None,
        sample_rate: int | None = None,
        mel_bins: int | None = None,
        stride: int | None = None,
        searcher: Searcher | None = None,
    ) -> None:
        self.token_level, self.max_tokens = token_level, max_tokens
        self.chosen_rate, self.chosen_bins, self.chosen_stride = sample_rate, mel_bins, stride
        self.rate, self.bins, self.stride, self.seconds = _HIGHEST_RATE, _MOST_BINS, 1, 0.0
        self.normalizer = Normalizer()
        self.tokens = SpeechTokens("characters")
        self.searcher = searcher or Searcher()
        self.held_out: dict[str, Any] = {}
        self._fitted_features: tuple[list[Recording], list[Tensor]] | None = None

    # ---- learning

    def fit(self, train: list[Recording], valid: list[Recording] | None = None) -> Self:
        texts = [recording.text or "" for recording in train]
        self.tokens = SpeechTokens(self.token_level or find_level(texts), self.max_tokens).fit(texts)
        self.rate = self.chosen_rate or min(_HIGHEST_RATE, _most_common([one.rate for one in train]))
        self.bins = self.chosen_bins or next((n for r, n in _BINS.items() if self.rate <= r), _MOST_BINS)
        self.seconds = sum(len(recording.sound) / recording.rate for recording in train)
        features = self._log_mel(train)
        _check_frames(features, train)
        self.normalizer.fit(features)
        features = [self.normalizer(rows) for rows in features]
        self.stride = self.chosen_stride or self._found_stride(features, texts)
        self._note_short(features, texts)
        self._fitted_features = train, features
        if self.searcher.scorer is not None:
            if self.tokens.commands:
                way_out = "leave ngram and language_model out, or choose another token_level"
                raise errors.value_error("language_model", "none for commands", "one", way_out)
            self.searcher.scorer.fit([self.tokens.encode(said) for said in texts], self.tokens)
        return self

    def _found_stride(self, features: Sequence[Tensor], texts: Sequence[str]) -> int:
        """The longest stride at which nearly all texts fit into the steps of their sounds."""
        ratios = sorted(
            len(rows) / max(1, self._needed(said)) for rows, said in zip(features, texts, strict=True)
        )
        shortest = ratios[int((1 - _FEW) * len(ratios))]
        fitting = [stride for stride in STRIDES if shortest >= _SPARE_STEPS * stride]
        return min(_LONGEST_STRIDE, max(fitting, default=1))

    def _needed(self, said: str) -> int:
        """The fewest steps in which CTC can write a text: a blank stands between two equal labels."""
        numbers = self.tokens.encode(said)
        return len(numbers) + sum(a == b for a, b in pairwise(numbers))

    def _note_short(self, features: Sequence[Tensor], texts: Sequence[str]) -> None:
        short = [
            said
            for rows, said in zip(features, texts, strict=True)
            if -(-len(rows) // self.stride) < self._needed(said)
        ]
        if short:
            errors.notice(
                f"{len(short)} of {len(texts)} sounds are too short for their texts and are not learned "
                f"from, the first is that of {short[0][:40]!r}."
            )

    @property
    def epochs(self) -> int:
        """So many that about 36 hours of sound are gone through."""
        fewest, most = _EPOCHS
        return min(most, max(fewest, round(_SECONDS_HEARD / max(1.0, self.seconds))))

    # ---- recordings to tensors

    def _log_mel(self, records: Sequence[Recording], speed: float = 1.0) -> list[Tensor]:
        features = LogMel(self.rate, self.bins)
        return [features(_at_speed(one, speed), one.rate) for one in records]

    def features(self, records: list[Recording]) -> list[Tensor]:
        """Normalized features (T_i, M) of each recording."""
        if self._fitted_features is not None and self._fitted_features[0] is records:
            features = self._fitted_features[1]
            self._fitted_features = None
            return features
        return [self.normalizer(rows) for rows in self._log_mel(records)]

    def batches(
        self, records: list[Recording], batch_size: int, augmentation: Augmentation | None = None
    ) -> SpeechBatches:
        """Batches to predict from, or to train on with an augmentation."""
        known = all(recording.text is not None for recording in records)
        targets = [self.tokens.encode(recording.text or "") for recording in records] if known else None
        features = [self.features(records)]
        if augmentation is None:
            return SpeechBatches(features, targets, batch_size)
        others = [speed for speed in augmentation.speeds if speed != 1.0]
        speeds = [1.0, *others]
        features += [[self.normalizer(rows) for rows in self._log_mel(records, speed)] for speed in others]

        log_mel = LogMel(self.rate, self.bins)

        def noisy(row: int, speed: int) -> Tensor:
            sound = with_noise(_at_speed(records[row], speeds[speed]))
            return self.normalizer(log_mel(sound, records[row].rate))

        return SpeechBatches(features, targets, batch_size, augmentation, noisy)

    def note_unheard(self, records: Sequence[Recording]) -> None:
        """Notices what no text in training had, which the network can therefore not write."""
        rows = [row for row, one in enumerate(records) if one.text and self.tokens.unheard(one.text)]
        if rows:
            heard = [part for row in rows for part in self.tokens.unheard(records[row].text or "")]
            listed = list(dict.fromkeys(heard))
            names = ", ".join(map(repr, listed[:5])) + (" and others" if len(listed) > 5 else "")
            kind = self.tokens.level
            errors.notice(
                f"{len(rows)} of {len(records)} texts have {kind} never heard in training ({names}), first "
                f"in row {rows[0]}; they count as errors."
            )

    # ---- emissions to texts

    def decode(self, predictions: list[Emissions], records: list[Recording]) -> list[Transcription]:
        answers: list[Transcription] = []
        for part in predictions:
            answers += self.searcher.transcriptions(
                part.log_probs, part.lengths, part.search, self.tokens, self.step_seconds
            )
        return answers

    @property
    def step_seconds(self) -> float:
        """Seconds from one step of the output to the next."""
        return FRAME_SHIFT * self.stride

    def choose_weight(self, predictions: list[Emissions], records: list[Recording]) -> None:
        """Set the language model's weight and bonus to those with the lowest WER, first ones first."""
        steps = torch.tensor([int(part.lengths.sum()) for part in predictions]).cumsum(0)
        predictions = predictions[: 1 + int((steps[:-1] < _WEIGHED_STEPS).sum())]
        records = records[: sum(len(part.lengths) for part in predictions)]
        truth = self.truth(records)
        rates: dict[tuple[float, float], float] = {}
        for search in self.searcher.candidates():
            asked = [part._replace(search=search) for part in predictions]
            found = self.present(self.decode(asked, records))
            rates[search.language_weight or 0.0, search.token_bonus or 0.0] = text.word_error_rate(
                found, truth
            )
        if rates:
            self.searcher.language_weight, self.searcher.token_bonus = min(rates, key=lambda key: rates[key])

    def present(self, answers: list[Transcription]) -> list[str]:
        return [answer.text for answer in answers]

    def as_table(self, answers: list[Transcription], records: list[Recording]) -> pl.DataFrame:
        """Columns file (null for an array), text, confidence, and words with their times in seconds."""
        word = pl.Struct(
            {"word": pl.String, "start": pl.Float64, "end": pl.Float64, "confidence": pl.Float64}
        )
        return pl.DataFrame(
            {
                "file": [recording.file for recording in records],
                "text": [answer.text for answer in answers],
                "confidence": [answer.confidence for answer in answers],
                "words": [[spoken._asdict() for spoken in answer.words] for answer in answers],
            },
            schema={"file": pl.String, "text": pl.String, "confidence": pl.Float64, "words": pl.List(word)},
        )

    # ---- how good they are

    def truth(self, records: list[Recording]) -> list[str]:
        return [recording.text or "" for recording in records]

    def metrics(self) -> Metrics:
        metrics = {
            "wer": text.word_error_rate,
            "cer": text.character_error_rate,
            "accuracy": text.exact_match,
        }
        return {name: partial(_score, metric) for name, metric in metrics.items()}

    def scores_of_one_text(self, truth: list[str]) -> dict[str, float]:
        """The metrics of answering the most frequent text to every sound."""
        frequent, _ = Counter(truth).most_common(1)[0]
        answers = [Transcription(frequent, 0.0, [], torch.zeros(0, 0))] * len(truth)
        return {name: float(metric(answers, truth)) for name, metric in self.metrics().items()}

    def state(self) -> dict[str, Any]:
        return {
            "rate": self.rate,
            "bins": self.bins,
            "stride": self.stride,
            "seconds": self.seconds,
            "normalizer": self.normalizer.state(),
            "tokens": self.tokens.state(),
            "searcher": self.searcher.state(),
            "held_out": self.held_out,
        }

    def restore(self, state: Tree) -> Self:
        self.rate, self.bins, self.stride = state["rate"], state["bins"], state["stride"]
        self.seconds, self.held_out = state["seconds"], state["held_out"]
        self.normalizer = Normalizer().restore(state["normalizer"])
        self.tokens = SpeechTokens.from_state(state["tokens"])
        self.searcher.restore(state["searcher"], self.tokens)
        return self


def _score(metric: Any, answers: Sequence[Transcription], truths: Sequence[str]) -> float:
    return metric([answer.text for answer in answers], truths)


def _most_common(rates: Sequence[int]) -> int:
    """The most frequent rate; of equally frequent ones the lowest."""
    counts = Counter(rates)
    return min(counts, key=lambda rate: (-counts[rate], rate))


def _at_speed(recording: Recording, speed: float) -> Any:
    """The sound as if it was spoken faster by this factor, which raises its pitch too."""
    if speed == 1.0:
        return recording.sound
    return resample(recording.sound, round(recording.rate * speed), recording.rate)


def _check_frames(features: Sequence[Tensor], records: Sequence[Recording]) -> None:
    short = next((row for row, rows in enumerate(features) if not len(rows)), None)
    if short is not None:
        one = records[short]
        received = f"{len(one.sound) / one.rate:.3f} s in {one.file or f'sound {short}'}"
        way_out = "leave it out"
        raise errors.value_error("sound", "at least 0.025 seconds to learn from", received, way_out)
