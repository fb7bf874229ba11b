"""Recognizes speech: the parts and the verbs of `SpeechRecognizer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import polars as pl
import torch
from typing_extensions import Self

from longspan import errors
from longspan.callbacks import Callback
from longspan.data.splits import rows_of_fraction
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.schedule import Schedule

from .batches import Augmentation, SpeechBatches, train_batch_size
from .codec import SpeechCodec
from .features import SpecAugment
from .network import SpeechNetwork
from .options import SpeechRecognizerOptions
from .reading import RatedSource, Recording, TranscriptColumns, read_recordings
from .report import Evaluated, speech_sections
from .searcher import Search, Searcher
from .sound_files import check_rate
from .streaming import SpeechStream
from .text_scorer import NGramScorer, PretrainedScorer, TextScorer

_ANSWERED = 32  # sounds that are answered at once, unless training batches are larger
_SCORED = 500  # sounds of the validation part at most that are answered after training

FittedSpeech = Fitted[SpeechCodec, SpeechNetwork, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class SpeechRecognizer(  # pyright: ignore[reportIncompatibleVariableOverride], None is "found from the data"
    SpeechRecognizerOptions, Estimator[list[Recording], SpeechCodec, SpeechNetwork, Any]
):
    """Learns to write down what is said in sounds: sentences, strings of words, or single commands.

    Sounds are mixed to mono and resampled (soxr). Their log-mel features (kaldi-native-fbank) are normalized
    by the training part and masked in training (SpecAugment). Strided convolutions and recurrent layers give
    the probabilities of labels, which CTC trains without any times in the texts (Graves et al. 2006). A
    greedy or a prefix beam search finds the text, with an n-gram or a `LanguageModel` weighed in.

    What is found from the data where an option is None:
        token_level: "commands" where there are five times as many sounds as different texts: every sound is
            then one of these texts. Else words, where few words occur often; else byte pairs, from 100,000
            words on; else characters.
        sample_rate: the most frequent one, at most 16,000. mel_bins: 40 up to 8,000 samples a second, or 80.
        stride: the longest of 1, 2 and 4 at which 99 % of the texts fit well into their sounds.
        epochs: so many that 36 hours of sound are heard in all, at least 10 and at most 100.
        language_weight, token_bonus: those with the lowest WER on the held-out part.

    Sources: see `.reading.read_recordings`. Files of the formats of libsndfile (wav, flac, ogg, mp3).

    `predict` gives a string for each sound, `transcribe` a frame with confidences and the times of words.
    `evaluate` gives wer and cer (jiwer), and accuracy, the share of texts that are right as a whole. A notice
    counts silent and clipped sounds. Raises ValueError or TypeError in one sentence.

    >>> import numpy as np
    >>> tone = lambda pitch: np.sin(np.arange(2400) * pitch)
    >>> sounds = [tone(0.2 + 0.001 * n) if n % 2 else tone(0.9) for n in range(40)]
    >>> r = SpeechRecognizer(hidden_size=8, filters=8, epochs=6, learning_rate=0.02)
    >>> r.fit(sounds, ["high", "low"] * 20, rate=8000, verbose=0).predict([tone(0.9)])
    ['high']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (128): units of every recurrent layer and direction.
        num_layers (2): recurrent layers stacked.
        dropout (0.2): share of values dropped in training.
        epochs (None): times the training part is gone through at most; none to find it.
        batch_size (32): sounds a step at most.
        learning_rate (0.003): of Adam, at its highest.
        patience (None): epochs without improvement on the held-out part before training stops; none
            for never.
        validation_fraction (0.05): share of the training data held out.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        file_column (None): column of the sound files; none to find it.
        text_column (None): column of the texts; none to find it.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        token_level (None): labels of the network: whole texts (commands), words, byte pairs,
            characters; none to find it (one of commands, words, bpe, characters).
        max_tokens (None): labels at most; none for all, 500 for bpe.
        sample_rate (None): samples a second that sounds are resampled to; none for the most
            frequent one, at most 16000.
        mel_bins (None): mel filters of the features; none for 40 up to 8000 samples a second, else
            80.
        frequency_masks (2): bands of frequencies that are hidden in a training sound.
        frequency_mask_width (0.2): share of the frequencies that one band hides at most.
        time_masks (2): stretches of time that are hidden in a training sound.
        time_mask_width (0.1): share of the sound that one stretch hides at most.
        speed_perturbation ((0.9, 1.1)): factors of the speeds at which training sounds are heard
            beside their own.
        noise_perturbation (0.0): share of the training sounds to which white noise is added, 5 to
            30 decibels below them.
        stride (None): frames of 10 ms for one step of the recurrent layers: 1, 2, 4 or 8; none to
            find it.
        filters (128): channels of the convolutions before the recurrent layers.
        kernel_size (5): steps that a convolution sees.
        bidirectional (True): whether the network hears a sound in both directions; false for
            streams.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        ngram (None): order of an n-gram of the training texts that a beam search weighs in; none
            for none.
        language_model (None): saved LanguageModel over the same kind of tokens that a beam search
            weighs in.
        beam_size (None): beginnings of a text kept at every step; 1 for greedy; none for 1, with a
            language model 16.
        language_weight (None): weight of the language model; none for that found on the held-out
            part.
        token_bonus (None): added for every token beside a language model; none for that found on
            the held-out part.
    """

    name: ClassVar[str] = "speech"
    score_metric: ClassVar[str] = "-wer"
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.02)

    # ---- verbs

    def fit(
        self,
        source: Any,
        y: Any = None,
        *,
        rate: int | None = None,
        validation_data: Any = None,
        resume: Any = None,
        callbacks: Sequence[Callback] = (),
        verbose: int | str = "auto",
        processes: int | None = None,
    ) -> Self:
        """Train on sounds and their texts; see `longspan.tasks.estimator.Estimator.fit`.

        Args:
            source: sounds with texts, see `.reading.read_recordings`; y: the texts, if they come apart.
            rate: samples a second of arrays; that of files stands in them.
            validation_data, resume, callbacks, verbose, processes: as for every task.
        """
        return super().fit(
            _rated(source, rate), y, validation_data=validation_data, resume=resume, callbacks=callbacks,
            verbose=verbose, processes=processes,
        )  # fmt: skip

    def predict(self, source: Any = None, *, rate: int | None = None, **search: Any) -> list[str]:
        """The text of every sound.

        Args:
            source: sounds, see `.reading.read_recordings`.
            rate: samples a second of arrays; None for those of the training sounds.
            search: beam_size, language_weight or token_bonus for this call only.
        """
        return super().predict(_rated(source, rate), **search)

    def transcribe(self, source: Any, *, rate: int | None = None, **search: Any) -> pl.DataFrame:
        """The texts of sounds with confidences and the times of words.

        Args:
            source, rate, search: as for `predict`.

        Returns:
            A row for every sound: file (null for an array), text, confidence (the network's probability of
            the whole text), words (a list of word, start and end in seconds, confidence).
        """
        return self.predict_table(_rated(source, rate), **search)

    def evaluate(
        self, source: Any, y: Any = None, *, rate: int | None = None, **search: Any
    ) -> dict[str, float]:
        """WER, CER and accuracy for sounds with texts.

        Args:
            source, y: as for `fit`; rate, search: as for `predict`.
        """
        return super().evaluate(_rated(source, rate), y, **search)

    def stream(self, rate: int | None = None, **search: Any) -> SpeechStream:
        """A stream of one sound: `step(chunk)` gives the text so far, `finish()` that of the whole sound.

        Args:
            rate: samples a second of the chunks; None for those of the training sounds.
            search: as for `predict`.

        Raises:
            ValueError: the network hears in both directions; one sentence.
        """
        fitted = self._check_fitted()
        if self.bidirectional:
            way_out = "fit with bidirectional=False"
            received = "one that hears a sound in both directions"
            raise errors.value_error("stream", "a network of one direction", received, way_out)
        options = self._search_options(search)
        chunk_rate = fitted.codec.rate if rate is None else check_rate(rate)
        return SpeechStream(fitted.codec, fitted.network, chunk_rate, Search(**options))

    # ---- parts

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedSpeech | None = None
    ) -> list[Recording]:
        recordings = read_recordings(
            source,
            y,
            columns=TranscriptColumns(self.file_column, self.text_column, self.encoding),
            texts=use != "predict",
            default_rate=None if fitted is None else fitted.codec.rate,
        )
        if fitted is not None and use == "evaluate":
            fitted.codec.note_unheard(recordings)
        return recordings

    def split(self, records: list[Recording]) -> tuple[list[Recording], list[Recording] | None]:
        """A fraction drawn by the seed."""
        held_out = rows_of_fraction(len(records), self.validation_fraction)
        if not held_out:
            return records, None
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(records), generator=generator).tolist()
        train, valid = sorted(rows[held_out:]), sorted(rows[:held_out])
        return [records[row] for row in train], [records[row] for row in valid]

    def codec(self) -> SpeechCodec:
        return SpeechCodec(
            token_level=self.token_level,
            max_tokens=self.max_tokens,
            sample_rate=self.sample_rate,
            mel_bins=self.mel_bins,
            stride=self.stride,
            searcher=Searcher(self._scorer()),
        )

    def _scorer(self) -> TextScorer | None:
        if self.ngram is not None and self.language_model is not None:
            received = "ngram and language_model"
            raise errors.value_error(
                "language_model", "one language model", received, "leave one of them out"
            )
        if self.language_model is not None:
            return PretrainedScorer(self.language_model)
        return None if self.ngram is None else NGramScorer(self.ngram)

    def network(self, codec: SpeechCodec, train: list[Recording] | None) -> SpeechNetwork:
        return SpeechNetwork(
            codec.bins,
            codec.tokens.size,
            stride=codec.stride,
            filters=self.filters,
            kernel_size=self.kernel_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            bidirectional=self.bidirectional,
            cell=self.cell,
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            commands=bool(codec.tokens.commands),
        )

    def batches(self, codec: SpeechCodec, records: list[Recording], *, train: bool) -> SpeechBatches:
        if not train:
            return codec.batches(records, max(_ANSWERED, self.batch_size))
        masks = SpecAugment(
            self.frequency_masks, self.frequency_mask_width, self.time_masks, self.time_mask_width
        )
        augmentation = Augmentation(masks, self.speed_perturbation, self.noise_perturbation)
        return codec.batches(records, train_batch_size(len(records), self.batch_size), augmentation)

    def calibrate(self, fitted: FittedSpeech, valid: list[Recording], run: Run) -> None:
        """Choose the language model's weight, and keep the scores of the held-out part for reports."""
        part = valid[:_SCORED]
        codec, truth = fitted.codec, fitted.codec.truth(part)
        predictions = self._predictions(fitted, part)
        codec.choose_weight(predictions, part)
        scores = self._scores(fitted, codec.decode(predictions, part), truth)
        rival = codec.scores_of_one_text(truth)
        codec.held_out = {"rows": len(part), "scores": scores, "rival_scores": rival}

    def report(self, fitted: FittedSpeech, source: Any) -> list[Section]:
        """Scores, sounds with what was heard in them over time, the worst files, and what is confused."""
        if source is None:
            return speech_sections(fitted.codec, None)
        records = self.read(source, use="predict", fitted=fitted)
        answers = self._answers(fitted, records)
        known = all(record.text is not None for record in records)
        scores = self._scores(fitted, answers, fitted.codec.truth(records)) if known else {}
        return speech_sections(fitted.codec, Evaluated(records, answers, scores))


def _rated(source: Any, rate: int | None) -> Any:
    """The source together with the rate that the caller gave for it."""
    return source if rate is None else RatedSource(source, rate)
