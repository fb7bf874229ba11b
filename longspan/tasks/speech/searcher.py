"""Searches texts greedily or with a beam, with an n-gram or a fitted language model weighed in."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from longspan import errors
from longspan.search import CTCBeam, Transcript, ctc_greedy

from .decoding import Transcription, best_commands, spoken_words, text_log_probs
from .text_scorer import TextScorer
from .tokens import BLANK, SpeechTokens

_BEAM_SIZE = 16  # with a language model, where none is asked for
_WEIGHTS, _BONUSES = (0.0, 0.2, 0.4, 0.7, 1.0), (0.0, 1.0)  # that the held-out part chooses among


class Search(NamedTuple):
    """The options of a search, None for those of the searcher.

    beam_size: prefixes kept a step, 1 for the greedy search; language_weight: of the language model's
    log-probabilities; token_bonus: added for every token.
    """

    beam_size: int | None = None
    language_weight: float | None = None
    token_bonus: float | None = None


class Searcher:
    """Finds texts in the log-probabilities of labels.

    Args:
        scorer: the language model, None for none.

    Attributes: language_weight, token_bonus: those of a search that asks for none.
    """

    def __init__(self, scorer: TextScorer | None = None) -> None:
        self.scorer = scorer
        self.language_weight, self.token_bonus = 0.5, 0.0

    def transcriptions(
        self, log_probs: Tensor, lengths: Tensor, search: Search, tokens: SpeechTokens, step: float
    ) -> list[Transcription]:
        """The likeliest text of every row.

        Args:
            log_probs: (B, S, V); lengths: (B,); tokens: of the labels; step: seconds of a step.
        """
        if tokens.commands:
            return best_commands(log_probs, lengths, tokens, step)
        rows = [rows[:length] for rows, length in zip(log_probs, lengths.tolist(), strict=True)]
        found = self._greedy(log_probs, lengths, search) or [self._searched(steps, search) for steps in rows]
        totals = text_log_probs(log_probs, lengths, [one.tokens for one in found])
        return [
            _transcription(one, total, steps, tokens, step)
            for one, total, steps in zip(found, totals, rows, strict=True)
        ]

    def _greedy(self, log_probs: Tensor, lengths: Tensor, search: Search) -> list[Transcript]:
        """The greedy texts of all rows; [] if a beam is to search."""
        return ctc_greedy(log_probs, lengths, blank=BLANK) if self.beam_size(search) == 1 else []

    def beam_size(self, search: Search) -> int:
        """Prefixes kept a step: 1 for the greedy search, which no language model can be weighed in.

        Raises:
            ValueError: a beam of 1 is asked for beside a language model.
        """
        if search.beam_size == 1 and self.scorer is not None:
            way_out = "a greedy search weighs no language model in"
            raise errors.value_error("beam_size", "at least 2 with a language model", 1, way_out)
        return search.beam_size or (1 if self.scorer is None else _BEAM_SIZE)

    def beam(self, search: Search) -> CTCBeam:
        """A beam before its first step."""
        weight = self.language_weight if search.language_weight is None else search.language_weight
        bonus = self.token_bonus if search.token_bonus is None else search.token_bonus
        model = None if self.scorer is None else self.scorer.search_model(weight, bonus)
        return CTCBeam(self.beam_size(search), blank=BLANK, language_model=model)

    def _searched(self, steps: Tensor, search: Search) -> Transcript:
        beam = self.beam(search)
        beam.read(steps)
        return beam.transcripts()[0]

    def candidates(self) -> Iterator[Search]:
        """The searches among which the held-out part chooses weight and bonus; none without a scorer."""
        if self.scorer is not None:
            for weight in _WEIGHTS:
                for bonus in _BONUSES:
                    yield Search(None, weight, bonus)

    def state(self) -> Any:
        """Plain values and tensors."""
        scorer = None if self.scorer is None else self.scorer.state()
        return {"scorer": scorer, "language_weight": self.language_weight, "token_bonus": self.token_bonus}

    def restore(self, state: Mapping[str, Any], tokens: SpeechTokens) -> Self:
        """Take what `state` returned; the searcher has a scorer of the same kind."""
        self.language_weight, self.token_bonus = state["language_weight"], state["token_bonus"]
        if self.scorer is not None:
            self.scorer.restore(state["scorer"], tokens)
        return self


def _transcription(
    found: Transcript, log_prob: float, steps: Tensor, tokens: SpeechTokens, step: float
) -> Transcription:
    """A transcript as text; log_prob: of all its alignments."""
    words = spoken_words(steps, found, tokens, step)
    return Transcription(tokens.decode(found.tokens), min(1.0, math.exp(log_prob)), words, steps)


class TextStream:
    """The text of one sound whose steps come piece by piece.

    Args:
        searcher, search, tokens: as for `Searcher.transcriptions`.
    """

    def __init__(self, searcher: Searcher, search: Search, tokens: SpeechTokens) -> None:
        self._tokens = tokens
        self._beam = None if searcher.beam_size(search) == 1 else searcher.beam(search)
        self._greedy: list[int] = []
        self._last = BLANK
        self._steps: list[Tensor] = []  # of commands

    def read(self, log_probs: Tensor) -> str:
        """The text after more steps (S, V)."""
        if self._tokens.commands:
            self._steps.append(log_probs)
            steps = torch.cat(self._steps)
            return best_commands(steps[None], torch.tensor([len(steps)]), self._tokens, 0.0)[0].text
        if self._beam is not None:
            self._beam.read(log_probs)
            return self._tokens.decode(self._beam.transcripts()[0].tokens)
        for label in log_probs.argmax(-1).tolist():
            if label not in (BLANK, self._last):
                self._greedy.append(label)
            self._last = label
        return self._tokens.decode(self._greedy)

    def state(self) -> Any:
        """Plain values and tensors."""
        beam = None if self._beam is None else self._beam.state()
        return {"beam": beam, "greedy": self._greedy, "last": self._last, "steps": self._steps}

    def restore(self, state: Any) -> None:
        """Take what `state` returned, in the search of a sound of which nothing was read."""
        self._greedy, self._last, self._steps = list(state["greedy"]), state["last"], list(state["steps"])
        if self._beam is not None:
            self._beam.restore(state["beam"])
