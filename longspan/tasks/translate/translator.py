"""Translates texts: the options and the parts of `Translator`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from longspan.report.elements import Section
from longspan.tasks.pair_codec import PairCodec
from longspan.tasks.pair_reading import Pair
from longspan.tasks.pair_report import pair_sections
from longspan.tasks.pair_task import FittedPairs, PairTask

from .codec import TranslationCodec
from .network import TranslationNetwork
from .report import by_length


@dataclass(eq=False, repr=False, kw_only=True)
class Translator(PairTask):
    """Translates texts, or turns any text into another: spellings into sounds, dates into their normal form.

    A bidirectional LSTM reads the source (Bahdanau et al. 2014, arXiv 1409.0473). The decoder's first layer
    asks this memory, and what it reads feeds the layer above and the output layer. So both run over whole
    sequences at once. Training has the true tokens before each step, smoothed labels (arXiv 1512.00567)
    and batches of pairs of similar length. Answers come from a beam search.

    What is found from the data where an option is None:
        token_level: for each side, see `longspan.tasks.pair_tokens.find_level`: characters for words alone,
            words where they are few, else byte pairs (needs tokenizers).
        max_tokens: of byte pairs one for six texts, from 500 to 8,000; of words and characters all.
        learning_rate: 0.003. It rises over a tenth of the steps and then falls along half a cosine.

    `fit(source)` or `fit(sources, targets)`: see `longspan.tasks.pair_reading.read_pairs`. Raises ValueError
    or TypeError in one sentence: a text without its translation (with the line), numbers of sources and
    targets that differ, a byte that is not text. A text with unknown characters, or longer than all in
    training, gets an answer; an empty one the empty text.

    `predict(texts, beam_size=None, n_best=1)`: a string for each text, or a list of n_best. `evaluate`: bleu
    and chrf (sacrebleu, on whole texts), exact_match, edit_distance (edits for a character of the truth), and
    the same for copying the source (copy_...).

    >>> sources, targets = ["one two", "two three", "three one"] * 20, ["a b", "b c", "c a"] * 20
    >>> t = Translator(hidden_size=16, embedding_size=16, epochs=20, learning_rate=0.02, token_level="words")
    >>> t.fit(sources, targets, verbose=0).predict(["three one"])
    ['c a']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (192): units of every recurrent layer and direction.
        num_layers (2): recurrent layers of the decoder.
        dropout (0.2): share of values dropped in training.
        epochs (8): times the training part is gone through at most.
        batch_size (32): pairs a step at most.
        learning_rate (None): of Adam, at its highest; none for found.
        patience (None): epochs without improvement on the held-out part before training stops; none
            for never.
        validation_fraction (0.05): share of the training data held out.
        seed (0): seed of the random generators: the same seed gives the same model.
        device (None): device such as cpu or cuda; none for a GPU if there is one.
        source_column (None): column or JSON field of the texts to read, or the ending of their
            file; none to find it.
        target_column (None): column or JSON field of the texts to write, or the ending of their
            file; none to find it.
        encoding ('utf-8'): encoding of text files that have no byte order mark, such as latin-1.
        token_level (None): how texts are cut into tokens; none to find it for each side (one of
            words, bpe, characters).
        max_tokens (None): tokens of a vocabulary at most; none to find it.
        max_source_length (None): tokens read of a text at most; none for all.
        shared_vocabulary (False): whether both sides have one vocabulary; they do where tokens are
            copied.
        embedding_size (192): values of a token's vector.
        encoder_layers (1): recurrent layers of the encoder, each in both directions.
        attention ('additive'): how the decoder's attention scores the source's tokens (one of
            additive, multiplicative).
        copy (False): whether tokens of the source may be copied.
        coverage (False): whether attention sees what it has read before.
        coverage_weight (1.0): weight of the loss for reading a token twice, where coverage is on.
        recurrent_dropout (0.0): share of h dropped, the same at all steps.
        label_smoothing (0.1): share of a target's probability that is spread over all tokens.
        scheduled_sampling (0.0): share of the decoder's inputs that are its own answers at the end
            of training.
        beam_size (5): beginnings of an answer that are kept at every step; 1 takes the likeliest
            token.
        n_best (1): answers for each text, at most beam_size.
        length_penalty (0.6): 0 favours short answers, 1 nearly compares the mean log-probability of
            a token.
    """

    name: ClassVar[str] = "translate"
    score_metric: ClassVar[str] = "bleu"

    def codec(self) -> TranslationCodec:
        return TranslationCodec(**self._codec_options())

    def network(self, codec: PairCodec, train: list[Pair] | None) -> TranslationNetwork:
        return TranslationNetwork(**self._network_options(codec, train))

    def report(self, fitted: FittedPairs, source: Any) -> list[Section]:
        """Scores beside those of copying the source, answers, attention, and scores by length."""
        evaluated = self._evaluated(fitted, source)
        return [*pair_sections(fitted.codec, evaluated), *by_length(fitted.codec, evaluated)]
