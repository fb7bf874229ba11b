"""Describes pictures: the parts and the verbs of `Captioner`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from longspan import errors
from longspan.data.frame_features import FrameFeatures
from longspan.data.frames import FrameAugmentation
from longspan.data.splits import rows_of_fraction
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.schedule import Schedule

from .batches import CaptionBatches
from .codec import CaptionCodec
from .network import CaptionNetwork
from .options import CaptionerOptions
from .reading import CaptionColumns, CaptionedPicture, read_captioned
from .report import Evaluated, caption_sections

_ANSWERED = 64  # pictures that are answered at once, unless training batches are larger
_SCORED = 500  # pictures of the validation part at most that are answered after training

FittedCaptions = Fitted[CaptionCodec, CaptionNetwork, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class Captioner(CaptionerOptions, Estimator[list[CaptionedPicture], CaptionCodec, CaptionNetwork, Any]):
    """Learns to describe pictures in a sentence, or to write a formula's picture as LaTeX.

    A small convolutional net gives a grid of features. A recurrent decoder attends to its cells and writes
    one token after another (Show, Attend and Tell, Xu et al. 2015, arXiv 1502.03044), with doubly stochastic
    attention. The words of the captions are predicted from the whole picture too, which teaches the
    convolutional net. `features` puts a model of your own, a function or an ONNX file, in its place.

    What is found from the data where an option is None:
        token_level: symbols where half of the captions have a backslash (LaTeX with blanks between the
            symbols), characters where a caption is one word, else words, which are written in lower case.
        max_tokens: all; of words in 1,000 captions or more those that occur twice.
        image_size: the median of the training pictures, at most 96 pixels a side. Others are resized to it,
            of which a notice tells.
        epochs: so many that about 50,000 pictures are seen, at least 10 and at most 50.
        filters: 16, 32, 64, 128 up to a grid of 8 cells a side at most.

    `fit(source)` or `fit(images, captions)`: PNG, JPEG, WebP, arrays; one or several captions each, see
    `.reading.read_captioned`. Raises ValueError or TypeError in one sentence.

    `predict(images, beam_size=None)`: a string for each picture. `evaluate`: bleu1 to bleu4, rougeL and cider
    (CIDEr-D) as the COCO caption evaluation has them, exact_match, distinct (different captions for one
    caption: near 0 where all pictures get the same) and vocabulary (tokens in use).

    >>> import numpy as np
    >>> pictures = np.zeros((40, 16, 16, 3), np.uint8)
    >>> pictures[::2, 4:12, 4:12, 0] = 255
    >>> p = Captioner(hidden_size=16, embedding_size=8, filters=(8,), epochs=9, learning_rate=0.02)
    >>> p.fit(pictures, ["a red square", "an empty page"] * 20, verbose=0).predict(pictures[:2])
    ['a red square', 'an empty page']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (192): units of every recurrent layer.
        num_layers (1): recurrent layers of the decoder.
        dropout (0.3): share of values dropped in training.
        epochs (None): times the training part is gone through at most; none to find it.
        batch_size (32): pictures a step at most.
        learning_rate (0.002): of Adam, at its highest.
        patience (None): epochs without improvement on the held-out part before training stops; none
            for never.
        validation_fraction (0.05): share of the training data held out.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        image_column (None): column or JSON field of the pictures' files; none to find it.
        caption_column (None): column or JSON field of the captions; none to find it.
        image_folder (None): folder of the pictures; none for that of the table that names them.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        image_size (None): height and width that pictures are resized to; none for their median, at
            most 96 pixels.
        token_level (None): how captions are cut: words, symbols (whatever has blanks around it) or
            characters; none to find it (one of words, symbols, characters).
        max_tokens (None): tokens of the vocabulary at most; none to find it.
        features (None): the user's model in the place of the convolutional net: an ONNX file, or
            module:function.
        features_cache (None): folder in which the features of the user's model are kept; none for
            no cache.
        filters (None): channels of the convolutional net's stages; none to find them.
        embedding_size (128): values of a token's vector.
        attention ('multiplicative'): how the decoder scores the cells of a picture (one of
            additive, multiplicative).
        attention_weight (1.0): weight of the loss for reading the cells of a picture unequally.
        word_weight (0.2): weight of the loss of words that are predicted from the whole picture.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        label_smoothing (0.1): share of a target's probability that is spread over all tokens.
        flips (False): whether training pictures are mirrored; not where captions speak of left and
            right.
        rotations (False): whether training pictures are turned by quarters, as pictures from above
            may be.
        shift (0.06): share of a side by which training pictures are moved at most.
        brightness (0.15): share by which training pictures are made brighter or darker at most.
        beam_size (None): beginnings of a caption that a beam search keeps; none for the consensus
            of drawn captions.
        samples (50): captions that are drawn for a picture, whose consensus is the answer.
        temperature (1.0): of the captions that are drawn: lower for likelier ones, higher for more
            different ones.
        top_p (0.95): share of the probability from which tokens are drawn, the likeliest first;
            lower for likelier captions, that more pictures share.
        length_penalty (0.6): 0 favours short captions, 1 nearly compares the mean log-probability
            of a token.
    """

    name: ClassVar[str] = "caption"
    score_metric: ClassVar[str] = "cider"
    takes_targets: ClassVar[bool] = True
    schedule: ClassVar[Schedule] = Schedule(warmup=0.1, final=0.02)

    def _conflict(self) -> Exception | None:
        if self.image_size is not None and len(self.image_size) != 2:
            return errors.value_error("image_size", "height,width", self.image_size, "give two numbers")
        if self.features_cache is not None and self.features is None:
            way_out = "leave it out, or name the model"
            return errors.value_error("features_cache", "features beside it", "none", way_out)
        return None

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedCaptions | None = None
    ) -> list[CaptionedPicture]:
        columns = CaptionColumns(self.image_column, self.caption_column, self.image_folder, self.encoding)
        largest = {} if self.image_size is None else {"largest": max(256, *self.image_size)}
        records = read_captioned(source, y, columns=columns, captions=use != "predict", **largest)
        if fitted is not None and use == "evaluate":
            fitted.codec.note_unknown(records)
        return records

    def split(
        self, records: list[CaptionedPicture]
    ) -> tuple[list[CaptionedPicture], list[CaptionedPicture] | None]:
        """A fraction drawn by the seed."""
        held_out = rows_of_fraction(len(records), self.validation_fraction)
        if not held_out:
            return records, None
        generator = torch.Generator().manual_seed(self.seed)
        rows = torch.randperm(len(records), generator=generator).tolist()
        train, valid = sorted(rows[held_out:]), sorted(rows[:held_out])
        return [records[row] for row in train], [records[row] for row in valid]

    def codec(self) -> CaptionCodec:
        features = None if self.features is None else FrameFeatures(self.features, self.features_cache)
        return CaptionCodec(
            token_level=self.token_level,
            max_tokens=self.max_tokens,
            image_size=self.image_size,
            features=features,
            augmentation=FrameAugmentation(
                flip=0.5 if self.flips else 0.0,
                shift=self.shift,
                brightness=self.brightness,
                turns=self.rotations,
            ),
        )

    def network(self, codec: CaptionCodec, train: list[CaptionedPicture] | None) -> CaptionNetwork:
        return CaptionNetwork(
            codec.shape,
            codec.tokens.size,
            codec.most_tokens,
            filters=self.filters,
            embedding_size=self.embedding_size,
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            cell=self.cell,
            attention=self.attention,
            dropout=self.dropout,
            recurrent_dropout=self.recurrent_dropout,
            label_smoothing=self.label_smoothing,
            attention_weight=self.attention_weight,
            word_weight=self.word_weight,
        )

    def batches(self, codec: CaptionCodec, records: list[CaptionedPicture], *, train: bool) -> CaptionBatches:
        size = self.batch_size if train else max(_ANSWERED, self.batch_size)
        return codec.batches(records, size, train=train)

    def calibrate(self, fitted: FittedCaptions, valid: list[CaptionedPicture], run: Run) -> None:
        """Keep the scores of a part of the held-out pictures, for the report."""
        part = valid[:_SCORED]
        truth = fitted.codec.truth(part)
        scores = self._scores(fitted, self._answers(fitted, part), truth)
        rival = fitted.codec.scores_of_one_caption(truth)
        fitted.codec.held_out = {"rows": len(part), "scores": scores, "rival_scores": rival}

    def report(self, fitted: FittedCaptions, source: Any) -> list[Section]:
        """Scores, each word's attention over its picture, and the worst captions."""
        if source is None:
            return caption_sections(fitted.codec, fitted.network.grid, None)
        records = self.read(source, use="predict", fitted=fitted)
        answers = self._answers(fitted, records)
        known = all(picture.captions for picture in records)
        scores = self._scores(fitted, answers, fitted.codec.truth(records)) if known else {}
        return caption_sections(fitted.codec, fitted.network.grid, Evaluated(records, answers, scores))
