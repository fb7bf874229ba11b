"""Models language: the options, the parts and the verbs of `LanguageModel`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from longspan import errors
from longspan.networks.decoder import Decoder
from longspan.nn.quantization import check_trainable
from longspan.report.elements import Section
from longspan.tasks.estimator import Estimator
from longspan.tasks.fitting import Run, device_of, fit_network
from longspan.tasks.parts import Fitted, Use
from longspan.tasks.pretrained import (
    EncoderSizes,
    PretrainedEncoder,
    PretrainedText,
    TokenScorer,
    fitted_text,
)
from longspan.tasks.schedule import Schedule, TrainingOptions

from . import report
from .batches import SegmentBatches, StreamBatches
from .codec import LanguageCodec
from .generation import generate
from .network import LanguageNetwork
from .options import LanguageModelOptions
from .reading import Document, read_documents, split_documents
from .tokens import BOUNDARY
from .training import AveragedWeights, Budget, BudgetedBatches

_SAMPLED_FROM = 40_000  # tokens in the vocabulary from which on training samples the softmax
_MOST_VALIDATION = 1_000_000  # characters held out at most

FittedLanguageModel = Fitted[LanguageCodec, LanguageNetwork, Any]


@dataclass(eq=False, repr=False, kw_only=True)
class LanguageModel(  # pyright: ignore[reportIncompatibleVariableOverride], None is "found from the data"
    LanguageModelOptions, PretrainedText, Estimator[list[Document], LanguageCodec, LanguageNetwork, Any]
):
    """Learns the probabilities of text, scores texts and generates them.

    Texts are cut into words, byte pairs, characters or bytes (see `token_level`). A recurrent network reads
    them and gives the probabilities of the next token. The state is carried from chunk to chunk of the text
    (truncated back-propagation), and starts afresh at every document. Dropout leaves out the same values at
    all steps (arXiv 1512.05287); embedding and weight dropout and averaged weights are those of Merity et
    al. 2017 (arXiv 1708.02182). Output layer and loss are one operator that never holds the probabilities of
    all tokens. The learning rate rises over 100 steps and falls along half a cosine to the end of the
    budget: `epochs`, `max_steps` or `max_minutes`, whichever ends first.

    The network's probabilities are mixed with those of a Kneser-Ney n-gram model of the same text, whose
    weight is found by the likelihood of the held-out part (`ngram`; Mikolov et al. 2011, "Empirical
    evaluation and combination of advanced language modeling techniques"). `evaluate` gives the perplexity of
    the mixture and those of the two parts.

    What is found from the data where an option is None:
        token_level: words, where blanks alone are between tokens (punctuation too) and new words are rare;
            byte pairs from 20 million characters on, where the package tokenizers is installed; else
            characters.
        softmax: sampled (arXiv 1412.2007) from 40,000 tokens on, in training alone.
        hidden_size, num_layers, embedding_size, tied, dropout, chunk_length, learning_rate: for characters
            and bytes 512, 1, 64, False, 0.1, 100, 0.005; for words and byte pairs 400, 1, 256, True, 0.2,
            35, 0.003.
    `validation_fraction` of the text is held out, at most a million characters: the end of one text, or every
    so-manieth of many texts. Text is brought to Unicode's form NFC. Words that occur once in training are
    read as unknown ones; so are characters and words that training has not seen.

    Sources: see `.reading.read_documents`. Raises ValueError or TypeError in one sentence: no text, a single
    token, a byte that is not text (with file and line).

    >>> model = LanguageModel(hidden_size=8, embedding_size=4, epochs=1, validation_fraction=0.0)
    >>> model = model.fit(["to be or not to be"] * 20, verbose=0)
    >>> len(model.log_prob(["to be"])[0])  # five characters and the end
    6

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (None): units of every recurrent layer; none for found.
        num_layers (None): recurrent layers; none for found.
        dropout (None): share of values dropped between layers in training, the same at all steps;
            none for found.
        epochs (None): times the training part is gone through at most; none for 10.
        batch_size (16): places of the text that are read side by side.
        learning_rate (None): of Adam, at its highest; none for found.
        patience (5): epochs without a lower validation loss before training stops.
        validation_fraction (0.05): share of the training text held out.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        missing (()): cells that mean a missing value, in addition to NA, n/a, -, null and the like.
        sheet (None): sheet of an Excel file; none for the first.
        time_format (None): form of times that are text, such as %d/%m/%Y %H:%M; none to find it.
        token_level (None): what a text is cut into; none for found (one of words, bpe, characters,
            bytes).
        text (None): column or field with the text.
        lines (False): whether every line of a text file is a text of its own.
        max_tokens (None): different tokens at most; none for all, 8000 for bpe.
        lowercase (False): whether the case of words is dropped.
        pretrained (None): a fitted or saved language model whose tokens, sizes and weights training
            starts from.
        ngram (True): whether an n-gram model's probabilities are mixed in, by what helps on the
            held-out part.
        embedding_size (None): values of a token's vector; none for found.
        tied (None): whether the output layer has the weights of the vectors; none for found.
        embedding_dropout (0.0): share of tokens whose vector is dropped, in training.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        weight_dropout (0.0): share of recurrent weights dropped a step.
        softmax (None): what the training loss compares a token with: all tokens (full), or a few
            drawn by their frequency (sampled); none for sampled from 40000 tokens on; scores are by
            all tokens (one of full, sampled).
        max_minutes (None): minutes of training at most; none for no limit.
        max_steps (None): steps of training at most; none for no limit.
        chunk_length (None): tokens that gradients flow through; none for found.
        averaging (0.2): share of the training at its end over which weights are averaged, earlier
            if it stops improving.
    """

    name: ClassVar[str] = "language"
    score_metric: ClassVar[str] = "-nats_per_token"
    reads_texts: ClassVar[bool] = True

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: FittedLanguageModel | None = None
    ) -> list[Document]:
        if y is not None:
            raise errors.value_error("y", "None, since texts have no targets", "a value", "leave it out")
        return read_documents(source, column=self.text, lines=self.lines, options=self._reading())

    def split(self, records: list[Document]) -> tuple[list[Document], list[Document] | None]:
        """Every so-manieth of many texts is held out, or the end of few."""
        if not self.validation_fraction:
            return records, None
        characters = max(1, sum(document.characters for document in records))
        train, valid = split_documents(records, min(self.validation_fraction, _MOST_VALIDATION / characters))
        if not train or not any(document.characters for document in valid):
            errors.notice("The text is too short to hold some out: all is trained on.")
            return records, None
        return train, valid

    def codec(self) -> LanguageCodec:
        names = (
            "embedding_size",
            "hidden_size",
            "num_layers",
            "tied",
            "dropout",
            "chunk_length",
            "learning_rate",
        )
        return LanguageCodec(
            self.token_level,
            self.max_tokens,
            lowercase=self.lowercase,
            sizes={name: getattr(self, name) for name in names},
        )

    def network(self, codec: LanguageCodec, train: list[Document] | None) -> LanguageNetwork:
        sizes = codec.sizes
        decoder = Decoder(
            codec.tokenizer.size,
            sizes.embedding_size,
            sizes.hidden_size,
            sizes.num_layers,
            cell=self.cell,
            tied=sizes.tied,
            dropout=sizes.dropout,
            variational=True,
            embedding_dropout=self.embedding_dropout,
            recurrent_dropout=self.recurrent_dropout,
            weight_dropout=self.weight_dropout,
            forget_bias=1.0 if "LSTM" in self.cell.upper() else None,
        )
        counts = None if train is None else torch.from_numpy(codec.ngram.token_counts())
        network = LanguageNetwork(decoder, counts if self._samples(codec) else None)
        if train is not None and self.pretrained is not None:
            pretrained = _pretrained(self.pretrained).network_
            check_trainable(pretrained)
            network.load_state_dict(pretrained.state_dict())
        elif counts is not None:
            network.start_from_counts(counts)
        return network

    def _samples(self, codec: LanguageCodec) -> bool:
        """Whether the training loss is a sampled softmax."""
        if self.softmax is not None:
            return self.softmax == "sampled"
        return codec.tokenizer.size >= _SAMPLED_FROM

    def batches(
        self, codec: LanguageCodec, records: list[Document], *, train: bool
    ) -> StreamBatches | SegmentBatches:
        return codec.stream_batches(records, self.batch_size) if train else codec.segment_batches(records)

    def learn(
        self, codec: LanguageCodec, train: list[Document], valid: list[Document] | None, run: Run
    ) -> FittedLanguageModel:
        """Fit the codec, then train within the budget."""
        if self.pretrained is not None:
            codec.start_from(_pretrained(self.pretrained).codec_)
        codec.fit(train, valid)
        network = self.network(codec, train).to(device_of(self.device))
        if network.sampled is not None and self.softmax is None:
            errors.notice(
                f"The vocabulary has {codec.tokenizer.size:,} tokens, so training compares each with "
                f"{network.sampled.num_samples:,} drawn ones a step (softmax='full' for all)."
            )
        batches = codec.stream_batches(train, self.batch_size)
        codec.forget_stream()
        validate = None if valid is None else codec.segment_batches(valid)
        epochs = self.epochs or codec.epochs
        steps = epochs * len(batches)
        budget = Budget(min(steps, self.max_steps or steps), self.max_minutes, codec.learning_rate)
        stopping = validate is not None and self.patience is not None
        averaged = AveragedWeights(budget, self.averaging, stopping=stopping)
        options = TrainingOptions(epochs, codec.learning_rate, Schedule(), self.patience)
        run = run._replace(model=self, callbacks=[budget, averaged, *run.callbacks])
        history = fit_network(network, BudgetedBatches(batches, budget), validate, options, run)
        return Fitted(codec, network, history)

    def calibrate(self, fitted: FittedLanguageModel, valid: list[Document], run: Run) -> None:
        """Find the n-gram model's weight, and keep the scores of the held-out part for reports."""
        answers = self._answers(fitted, valid)
        if self.ngram:
            answers = fitted.codec.fit_weight(answers)
        fitted.codec.validation = self._scores(fitted, answers, fitted.codec.truth(valid))

    def generate(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> str:
        """Text that goes on from a prompt, without the prompt.

        Args:
            prompt: what is read first; "" for the beginning of a text. What training has not seen in it is
                read as unknown, with a note.
            length: tokens at most; the end of a text ends it before, where training had several texts.
            temperature: what logits are divided by: 0 takes the likeliest token, 1 the model's own share.
            top_k: draw from so many of the likeliest tokens.
            top_p: draw from the fewest tokens whose probabilities sum to this.
            seed: the same seed gives the same text; without one, PyTorch's own generator draws.

        Raises:
            ValueError, TypeError: an argument is out of range, or the model is not fitted; one sentence.
        """
        pieces = self.stream(prompt, length, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        return "".join(pieces)

    def stream(
        self,
        prompt: str = "",
        length: int = 200,
        *,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        seed: int | None = None,
    ) -> Iterator[str]:
        """`generate` piece by piece: an iterator that gives text as soon as it is drawn; see there."""
        fitted = self._check_fitted()
        return generate(
            fitted.network, fitted.codec, prompt, length, temperature=temperature, top_k=top_k, top_p=top_p,
            seed=seed,
        )  # fmt: skip

    def log_prob(self, texts: Sequence[str]) -> list[np.ndarray]:
        """The natural logarithm of the probability of every token of each text, float32 (T_i,).

        Where training had several texts, the last number of each is that of the text's end.

        Args:
            texts: strings, or another source that `fit` takes.
        """
        fitted = self._check_fitted()
        answers = self._answers(fitted, self.read(texts, use="predict", fitted=fitted))
        return [scores.mixed for scores in answers]

    def tokens(self, text: str) -> list[str]:
        """The tokens that a text is cut into, each as text, in the order of `log_prob`'s numbers."""
        return self._check_fitted().codec.pieces(text)

    def pretrained_encoder(self) -> PretrainedEncoder:
        """What `Classifier(pretrained=...)` starts from."""
        fitted = self._check_fitted()
        check_trainable(fitted.network)
        sizes = fitted.codec.sizes
        weights = {
            name: value.detach().cpu()
            for name, value in fitted.network.decoder.state_dict().items()
            if name.startswith(("embedding.", "layers."))
        }
        encoder = EncoderSizes(
            self.cell, sizes.embedding_size, sizes.hidden_size, sizes.num_layers, start=BOUNDARY
        )
        return PretrainedEncoder(fitted.codec.token_level or "", fitted.codec.tokenizer, encoder, weights)

    def token_scorer(self) -> TokenScorer:
        """What `SpeechRecognizer(language_model=...)` weighs in: the network alone, on the CPU."""
        fitted = self._check_fitted()
        network, codec = deepcopy(fitted.network).cpu().eval(), fitted.codec
        state = network.initial_state()
        return TokenScorer(codec.token_level or "", codec.tokenizer.tokens, network.step, state, BOUNDARY)

    def report(self, fitted: FittedLanguageModel, source: Any) -> list[Section]:
        """The scores beside the n-gram's, samples, and where a text is least expected."""
        codec = fitted.codec
        if source is None:
            return report.sections(fitted, codec.validation, None, None)
        records = self.read(source, use="evaluate", fitted=fitted)
        answers = self._answers(fitted, records)
        scores = self._scores(fitted, answers, codec.truth(records))
        return report.sections(fitted, scores, records, answers)


def _pretrained(fitted: PretrainedText | str) -> LanguageModel:
    """A fitted language model, or the one that a file has."""
    model = fitted_text(fitted)
    if not isinstance(model, LanguageModel):
        received = f"a {type(model).__name__} in {fitted}"
        raise errors.value_error("pretrained", "a saved language model", received, "name another file")
    return model
