"""Summarises texts: the options and the parts of `Summarizer`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from longspan.report.elements import Section
from longspan.tasks.options import option
from longspan.tasks.pair_codec import PairCodec
from longspan.tasks.pair_reading import Pair
from longspan.tasks.pair_report import pair_sections
from longspan.tasks.pair_task import FittedPairs, PairTask

from .codec import SummaryCodec
from .network import SummaryNetwork
from .report import novelty


@dataclass(eq=False, repr=False, kw_only=True)
class Summarizer(PairTask):
    """Writes summaries: subjects, titles, headlines; words of the source may be copied.

    A pointer-generator network (See et al. 2017, arXiv 1704.04368): a bidirectional LSTM reads the source,
    and every word of the summary is written from a vocabulary or copied from the source, by a learned
    share. So names and numbers that training never had come out right. Coverage tells attention what it
    has read, against repetition. Both sides have one vocabulary and one embedding. Labels are smoothed, also
    with copying. Answers come from a beam search.

    What is found from the data where an option is None:
        token_level: words where tokens are copied, else see `longspan.tasks.pair_tokens.find_level`.
        max_tokens: of words that occur twice or more the 10,000 most frequent.
        learning_rate: 0.003. It rises over a tenth of the steps and then falls along half a cosine.

    `fit(source)` or `fit(texts, summaries)`: see `longspan.tasks.pair_reading.read_pairs`. Raises ValueError
    or TypeError in one sentence: a text without its summary (with the line), numbers of texts and summaries
    that differ, a byte that is not text. A text with unknown characters or words, or longer than all in
    training, gets an answer; an empty one the empty text. Of each text `max_source_length` tokens are read.

    `predict(texts, beam_size=None, n_best=1)`: a string for each text, or a list of n_best. `evaluate`:
    rouge1, rouge2, rougeL (rouge-score, F1 with stems), exact_match, edit_distance (edits for a character of
    the truth), and the same for the first sentence (lead_...) and for the words with the highest tf-idf
    (tfidf_...).

    >>> texts = [f"the {what} came to town" for what in ("king", "queen", "clown", "mayor")] * 15
    >>> summaries = [text.split()[1] + " in town" for text in texts]
    >>> s = Summarizer(hidden_size=16, embedding_size=16, epochs=20, learning_rate=0.02)
    >>> s.fit(texts, summaries, verbose=0).predict(["the queen came to town"])
    ['queen in town']

    Options:
        cell ('LSTM'): recurrent cell of the network (one of RNN, LSTM, GRU, rnn_relu, peephole,
            cifg, slstm, indrnn).
        hidden_size (128): units of every recurrent layer and direction.
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
        max_source_length (200): tokens read of a text at most; none for all.
        shared_vocabulary (False): whether both sides have one vocabulary; they do where tokens are
            copied.
        embedding_size (128): values of a token's vector.
        encoder_layers (1): recurrent layers of the encoder, each in both directions.
        attention ('additive'): how the decoder's attention scores the source's tokens (one of
            additive, multiplicative).
        copy (True): whether tokens of the source may be copied.
        coverage (True): whether attention sees what it has read before.
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

    max_source_length: int | None = option(200, "tokens read of a text at most; none for all", group="data")
    embedding_size: int = option(128, "values of a token's vector", group="network")
    hidden_size: int = option(128, "units of every recurrent layer and direction", group="network")
    copy: bool = option(True, "whether tokens of the source may be copied", group="network")
    coverage: bool = option(True, "whether attention sees what it has read before", group="network")

    name: ClassVar[str] = "summarize"
    score_metric: ClassVar[str] = "rougeL"

    def codec(self) -> SummaryCodec:
        return SummaryCodec(**self._codec_options())

    def network(self, codec: PairCodec, train: list[Pair] | None) -> SummaryNetwork:
        return SummaryNetwork(**self._network_options(codec, train))

    def report(self, fitted: FittedPairs, source: Any) -> list[Section]:
        """Scores beside the rivals', answers, attention, and how many words were copied."""
        evaluated = self._evaluated(fitted, source)
        return [*pair_sections(fitted.codec, evaluated), *novelty(evaluated)]
