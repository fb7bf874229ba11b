"""Declares the options of `SpeechRecognizer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from longspan import errors
from longspan.tasks.options import option
from longspan.tasks.pretrained import PretrainedText

from .network import STRIDES
from .sound_files import check_rate
from .tokens import TOKEN_LEVELS


def check_stride(argument: str, value: Any) -> None:
    """Refuse a number of frames for which there are no convolutions."""
    if value not in STRIDES:
        expected = f"one of {', '.join(map(str, STRIDES))}"
        raise errors.value_error(argument, expected, value, "choose one or none")


def check_speed(argument: str, value: Any) -> None:
    """Refuse a factor outside half and double speed."""
    if not 0.5 <= value <= 2.0:
        raise errors.value_error(argument, "factors from 0.5 to 2", value, "0.9,1.1 is usual")


def check_sample_rate(argument: str, value: Any) -> None:
    """Refuse a rate that is no number of samples a second."""
    check_rate(value)


@dataclass(eq=False, repr=False, kw_only=True)
class SpeechRecognizerOptions:
    """The options of `SpeechRecognizer`, by group: data, network, training and predict. Abstract."""

    file_column: str | None = option(None, "column of the sound files; none to find it", group="data")
    text_column: str | None = option(None, "column of the texts; none to find it", group="data")
    encoding: str = option(
        "utf-8", "encoding of text files that have no byte order mark, such as latin-1", group="data",
        advanced=True,
    )  # fmt: skip
    token_level: str | None = option(
        None, "labels of the network: whole texts (commands), words, byte pairs, characters; none to find it",
        choices=TOKEN_LEVELS, group="data",
    )  # fmt: skip
    max_tokens: int | None = option(
        None, "labels at most; none for all, 500 for bpe", group="data", minimum=5, advanced=True
    )
    sample_rate: int | None = option(
        None, "samples a second that sounds are resampled to; none for the most frequent one, at most 16000",
        group="data", check=check_sample_rate, advanced=True,
    )  # fmt: skip
    mel_bins: int | None = option(
        None, "mel filters of the features; none for 40 up to 8000 samples a second, else 80", group="data",
        minimum=8, maximum=256, advanced=True,
    )  # fmt: skip
    frequency_masks: int = option(
        2, "bands of frequencies that are hidden in a training sound", group="training", minimum=0,
        maximum=100, advanced=True,
    )  # fmt: skip
    frequency_mask_width: float = option(
        0.2, "share of the frequencies that one band hides at most", group="training", fraction=True,
        advanced=True,
    )  # fmt: skip
    time_masks: int = option(
        2, "stretches of time that are hidden in a training sound", group="training", minimum=0,
        maximum=100, advanced=True,
    )  # fmt: skip
    time_mask_width: float = option(
        0.1, "share of the sound that one stretch hides at most", group="training", fraction=True,
        advanced=True,
    )  # fmt: skip
    speed_perturbation: tuple[float, ...] = option(
        (0.9, 1.1), "factors of the speeds at which training sounds are heard beside their own",
        group="training", check=check_speed, advanced=True,
    )  # fmt: skip
    noise_perturbation: float = option(
        0.0, "share of the training sounds to which white noise is added, 5 to 30 decibels below them",
        group="training", fraction=True, advanced=True,
    )  # fmt: skip
    stride: int | None = option(
        None, "frames of 10 ms for one step of the recurrent layers: 1, 2, 4 or 8; none to find it",
        group="network", check=check_stride, advanced=True,
    )  # fmt: skip
    filters: int = option(
        128, "channels of the convolutions before the recurrent layers", group="network", minimum=1,
        maximum=65_536, advanced=True,
    )  # fmt: skip
    kernel_size: int = option(
        5, "steps that a convolution sees", group="network", minimum=1, maximum=100, advanced=True
    )
    hidden_size: int = option(
        128, "units of every recurrent layer and direction", group="network", search=[96, 128, 192, 256]
    )
    num_layers: int = option(2, "recurrent layers stacked", group="network", search=[1, 2, 3])
    bidirectional: bool = option(
        True, "whether the network hears a sound in both directions; false for streams", group="network"
    )
    dropout: float = option(
        0.2, "share of values dropped in training", group="network", search=[0.1, 0.2, 0.3, 0.4]
    )
    recurrent_dropout: float = option(
        0.0, "share of h dropped, the same at all steps", group="network", fraction=True, advanced=True
    )
    epochs: int | None = option(
        None, "times the training part is gone through at most; none to find it", group="training"
    )
    batch_size: int = option(32, "sounds a step at most", group="training")
    learning_rate: float | None = option(0.003, "of Adam, at its highest", group="training")
    patience: int | None = option(
        None, "epochs without improvement on the held-out part before training stops; none for never",
        group="training",
    )  # fmt: skip
    validation_fraction: float = option(0.05, "share of the training data held out", group="training")
    ngram: int | None = option(
        None, "order of an n-gram of the training texts that a beam search weighs in; none for none",
        group="task", minimum=1, maximum=10,
    )  # fmt: skip
    language_model: PretrainedText | str | None = option(  # noqa: RUF009 it makes a field
        None, "saved LanguageModel over the same kind of tokens that a beam search weighs in",
        group="task",
    )  # fmt: skip
    beam_size: int | None = option(
        None, "beginnings of a text kept at every step; 1 for greedy; none for 1, with a language model 16",
        group="predict", minimum=1, maximum=1000,
    )  # fmt: skip
    language_weight: float | None = option(
        None, "weight of the language model; none for that found on the held-out part", group="predict",
        advanced=True,
    )  # fmt: skip
    token_bonus: float | None = option(
        None, "added for every token beside a language model; none for that found on the held-out part",
        group="predict", advanced=True,
    )  # fmt: skip
