"""Declares the options of `Captioner`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from longspan import errors
from longspan.nn.memory_attention import ATTENTIONS
from longspan.tasks.options import option

from .tokens import TOKEN_LEVELS


def check_side(argument: str, value: Any) -> None:
    """Refuse a height or width that no picture can have."""
    if not 2 <= value <= 4096:
        raise errors.value_error(argument, "height,width in pixels, from 2 to 4096", value, "64,64 is usual")


def check_filters(argument: str, value: Any) -> None:
    """Refuse numbers of channels that are none."""
    if value < 1:
        raise errors.value_error(argument, "channels of every stage, at least 1", value, "leave it out")


@dataclass(eq=False, repr=False, kw_only=True)
class CaptionerOptions:
    """The options of `Captioner`, by group: data, network, training and predict. Abstract."""

    image_column: str | None = option(
        None, "column or JSON field of the pictures' files; none to find it", group="data", per_source=True
    )
    caption_column: str | None = option(
        None, "column or JSON field of the captions; none to find it", group="data", per_source=True
    )
    image_folder: str | None = option(
        None, "folder of the pictures; none for that of the table that names them", group="data",
        per_source=True,
    )  # fmt: skip
    encoding: str = option(
        "utf-8", "encoding of text files that have no byte order mark, such as latin-1", group="data",
        advanced=True, per_source=True,
    )  # fmt: skip
    image_size: tuple[int, ...] | None = option(
        None, "height and width that pictures are resized to; none for their median, at most 96 pixels",
        group="data", check=check_side,
    )  # fmt: skip
    token_level: str | None = option(
        None, "how captions are cut: words, symbols (whatever has blanks around it) or characters; none to "
        "find it", choices=TOKEN_LEVELS, group="data",
    )  # fmt: skip
    max_tokens: int | None = option(
        None, "tokens of the vocabulary at most; none to find it", group="data", minimum=5, advanced=True
    )
    features: Callable[[Tensor], Any] | str | None = option(  # noqa: RUF009 it makes a field
        None, "the user's model in the place of the convolutional net: an ONNX file, or module:function",
        group="network",
    )  # fmt: skip
    features_cache: str | None = option(
        None, "folder in which the features of the user's model are kept; none for no cache",
        group="network", advanced=True,
    )  # fmt: skip
    filters: tuple[int, ...] | None = option(
        None, "channels of the convolutional net's stages; none to find them", group="network",
        check=check_filters, advanced=True,
    )  # fmt: skip
    embedding_size: int = option(
        128, "values of a token's vector", group="network", minimum=1, maximum=65_536, search=[64, 128, 192],
        advanced=True,
    )  # fmt: skip
    hidden_size: int = option(
        192, "units of every recurrent layer", group="network", search=[96, 128, 192, 256]
    )
    num_layers: int = option(1, "recurrent layers of the decoder", group="network", search=[1, 2])
    attention: str = option(
        "multiplicative", "how the decoder scores the cells of a picture", choices=ATTENTIONS,
        group="network", advanced=True,
    )  # fmt: skip
    attention_weight: float = option(
        1.0, "weight of the loss for reading the cells of a picture unequally", group="training",
        advanced=True,
    )  # fmt: skip
    word_weight: float = option(
        0.2, "weight of the loss of words that are predicted from the whole picture", group="training",
        advanced=True,
    )  # fmt: skip
    dropout: float = option(
        0.3, "share of values dropped in training", group="network", search=[0.1, 0.2, 0.3, 0.5]
    )
    recurrent_dropout: float = option(
        0.0, "share of h dropped, the same at all steps", group="network", fraction=True, advanced=True
    )
    label_smoothing: float = option(
        0.1, "share of a target's probability that is spread over all tokens", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    flips: bool = option(
        False, "whether training pictures are mirrored; not where captions speak of left and right",
        group="training",
    )  # fmt: skip
    rotations: bool = option(
        False, "whether training pictures are turned by quarters, as pictures from above may be",
        group="training",
    )  # fmt: skip
    shift: float = option(
        0.06, "share of a side by which training pictures are moved at most", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    brightness: float = option(
        0.15, "share by which training pictures are made brighter or darker at most", group="training",
        fraction=True, advanced=True,
    )  # fmt: skip
    epochs: int | None = option(
        None, "times the training part is gone through at most; none to find it", group="training"
    )
    batch_size: int = option(32, "pictures a step at most", group="training")
    learning_rate: float | None = option(0.002, "of Adam, at its highest", group="training")
    patience: int | None = option(
        None, "epochs without improvement on the held-out part before training stops; none for never",
        group="training",
    )  # fmt: skip
    validation_fraction: float = option(0.05, "share of the training data held out", group="training")
    beam_size: int | None = option(
        None, "beginnings of a caption that a beam search keeps; none for the consensus of drawn captions",
        group="predict", minimum=1, maximum=1000,
    )  # fmt: skip
    samples: int = option(
        50, "captions that are drawn for a picture, whose consensus is the answer", group="predict",
        minimum=1, maximum=1000, advanced=True,
    )  # fmt: skip
    temperature: float = option(
        1.0, "of the captions that are drawn: lower for likelier ones, higher for more different ones",
        group="predict", positive=True, advanced=True,
    )  # fmt: skip
    top_p: float = option(
        0.95, "share of the probability from which tokens are drawn, the likeliest first; lower for likelier "
        "captions, that more pictures share", group="predict", positive=True,
    )  # fmt: skip
    length_penalty: float = option(
        0.6, "0 favours short captions, 1 nearly compares the mean log-probability of a token",
        group="predict", advanced=True,
    )  # fmt: skip
