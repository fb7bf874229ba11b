"""Beam search over a step of a network, for all rows and beginnings at once."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors

from .steps import Hypothesis, Limits, Reorder, Step, call_step, check_start, select_rows


def beam(
    step: Step,
    start: Tensor,
    state: Any = None,
    *,
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float = 0.6,
    coverage_penalty: float = 0.0,
    end: int,
    min_length: int = 0,
    max_length: int = 100,
    reorder: Reorder = select_rows,
) -> list[list[Hypothesis]]:
    """The likeliest sequences among those that begin with one of the `beam_size` likeliest beginnings.

    A row is done when `beam_size` of its sequences have ended and none that goes on has a better score at its
    length so far than the `n_best`-th of them, coverage left aside. Sequences are ranked by

        log_prob / ((5 + length) / 6) ** length_penalty
            + coverage_penalty * sum over places of log(min(sum over steps of the attention, 1))

    (Wu et al. 2016, arXiv 1609.08144, equation 14; length counts the end). A beam of 1 is `greedy`.

    Args:
        step, start, state, end, min_length, max_length: as for `greedy`; the state has B rows.
        beam_size: beginnings kept a row.
        n_best: hypotheses to return a row, at most beam_size.
        length_penalty: 0 prefers short sequences; 1 nearly compares the mean log-probability of a token.
        coverage_penalty: above 0 prefers sequences that read all places; the step must return attention.
        reorder: (state, rows (R,)) -> the state of these rows; by default as `select_rows`.

    Returns:
        For each row n_best hypotheses, the best first. Ones that have ended come before ones that have not.
    """
    limits = Limits(end, min_length, max_length)
    errors.check_int("beam_size", beam_size, 1, "1 is greedy search")
    errors.check_int("n_best", n_best, 1, "give the number of hypotheses a row")
    if n_best > beam_size:
        raise errors.value_error("n_best", f"at most beam_size, {beam_size}", n_best, "raise beam_size")
    ranking = _Ranking(
        errors.check_non_negative(
            "length_penalty", length_penalty, "0 compares log-probabilities as they are"
        ),
        errors.check_non_negative("coverage_penalty", coverage_penalty, "0 does without it"),
    )
    search = _Beams(check_start(start), beam_size, n_best, limits, ranking)
    if start.numel():
        search.run(step, state, reorder)
    return [search.best(row) for row in range(start.numel())]


class _Ranking(NamedTuple):
    length_penalty: float
    coverage_penalty: float

    def divisor(self, length: int) -> float:
        """By which the log-probability of so many tokens is divided."""
        return ((5.0 + length) / 6.0) ** self.length_penalty

    def scores(self, log_probs: Tensor, length: int, covered: Tensor | None) -> Tensor:
        """Of log-probabilities (...) of so many tokens; covered: (..., S) the attention's sums over steps."""
        scores = log_probs / self.divisor(length)
        if self.coverage_penalty:
            if covered is None:
                raise errors.value_error(
                    "coverage_penalty",
                    "0, as the step returns no attention",
                    self.coverage_penalty,
                    "leave it out",
                )
            read = torch.where(
                covered > 0, covered.clamp_max(1.0), 1.0
            )  # places beyond a row's length have none
            scores = scores + self.coverage_penalty * read.log().sum(-1)
        return scores


class _Beams:
    """The beginnings of the rows that are not done, and the hypotheses of all.

    Of A such rows with k beginnings each: log_probs (A, k), tokens (A, k, t), attention (A, k, t, S).
    """

    def __init__(self, start: Tensor, beam_size: int, n_best: int, limits: Limits, ranking: _Ranking) -> None:
        self.k, self.n_best, self.limits, self.ranking = beam_size, n_best, limits, ranking
        self.rows = list(range(start.numel()))
        self.log_probs = torch.full((start.numel(), beam_size), -torch.inf, device=start.device)
        self.log_probs[:, 0] = 0.0  # all beginnings are the same at first
        self.last = start.repeat_interleave(beam_size)
        self.tokens = start.new_empty(start.numel(), beam_size, 0)
        self.attention: Tensor | None = None
        self.ended: list[list[Hypothesis]] = [[] for _ in self.rows]
        self.live: list[list[Hypothesis]] = [[] for _ in self.rows]

    def run(self, step: Step, state: Any, reorder: Reorder) -> None:
        first = torch.arange(len(self.rows), device=self.last.device)
        state = reorder(state, first.repeat_interleave(self.k))
        for length in range(self.limits.max_length):
            logits, state, attention = call_step(step, self.last, state)
            kept = self._advance(self.limits.without_end(logits, length), attention)
            if not self.rows:
                return
            state = reorder(state, kept)
        for place, row in enumerate(self.rows):
            self.live[row] = [self._hypothesis(place, j, finished=False) for j in range(self.k)]

    def best(self, row: int) -> list[Hypothesis]:
        """The best hypotheses of a row, those that have ended first."""
        ended, live = (sorted(some, key=lambda h: -h.score) for some in (self.ended[row], self.live[row]))
        return [*ended, *(h for h in live if h.log_prob > -math.inf)][: self.n_best]

    def _advance(self, logits: Tensor, attention: Tensor | None) -> Tensor:
        """Lengthen the beginnings by a token; returns the rows (R',) of the step that they go on from."""
        A, k, V = len(self.rows), self.k, logits.shape[-1]
        wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
        totals = wide.log_softmax(-1).view(A, k, V) + self.log_probs.to(wide.dtype).unsqueeze(-1)
        # no beginning ends twice, so k of these do not end
        values, places = totals.view(A, k * V).topk(min(2 * k, k * V))
        parents, tokens = places // V, places % V
        ends = tokens == self.limits.end
        self._extend(parents, tokens, values, attention)
        self._collect(ends[:, :k] & (values[:, :k] > -torch.inf))
        going_on = ends.to(torch.uint8).sort(dim=1, stable=True).indices[:, :k]
        self._keep(going_on)
        hopes = (self.log_probs.amax(1) / self.ranking.divisor(self.tokens.shape[-1])).tolist()
        stays = [i for i, hope in enumerate(hopes) if hope > self._to_beat(self.rows[i])]
        rows = torch.tensor(stays, dtype=torch.int64, device=places.device)
        sources = parents.gather(1, going_on) + torch.arange(A, device=places.device).unsqueeze(1) * k
        if len(stays) < A:
            self._drop(rows, stays)
            sources = sources[rows]
        self.last = self.tokens[..., -1].reshape(-1)
        return sources.reshape(-1)

    def _extend(self, parents: Tensor, tokens: Tensor, values: Tensor, attention: Tensor | None) -> None:
        """From the k beginnings of each row to its candidates (A, C), each a parent with one token more."""
        places = parents.unsqueeze(-1)
        before = self.tokens.gather(1, places.expand(-1, -1, self.tokens.shape[-1]))
        self.tokens, self.log_probs = torch.cat([before, tokens.unsqueeze(-1)], -1), values
        if attention is None:
            return
        step = attention.view(len(self.rows), self.k, 1, -1)
        read = step if self.attention is None else torch.cat([self.attention, step], 2)
        self.attention = read.gather(1, places.unsqueeze(-1).expand(-1, -1, *read.shape[2:]))

    def _collect(self, ends: Tensor) -> None:
        """Of the best k candidates those that end are hypotheses."""
        if not bool(ends.any()):
            return
        for place, candidate in ends.nonzero().tolist():
            self.ended[self.rows[place]].append(self._hypothesis(place, candidate, finished=True))

    def _to_beat(self, row: int) -> float:
        """The n_best-th best score, without coverage, of what has ended in a row; none before there are k."""
        if len(self.ended[row]) < self.k:
            return -math.inf
        scores = (h.log_prob / self.ranking.divisor(len(h.tokens) + 1) for h in self.ended[row])
        return sorted(scores, reverse=True)[self.n_best - 1]

    def _keep(self, candidates: Tensor) -> None:
        """Candidates (A, k) become the beginnings."""
        self.log_probs = self.log_probs.gather(1, candidates)
        places = candidates.unsqueeze(-1)
        self.tokens = self.tokens.gather(1, places.expand(-1, -1, self.tokens.shape[-1]))
        if self.attention is not None:
            places = places.unsqueeze(-1).expand(-1, -1, *self.attention.shape[2:])
            self.attention = self.attention.gather(1, places)

    def _drop(self, rows: Tensor, places: list[int]) -> None:
        """Only these rows go on."""
        self.rows = [self.rows[i] for i in places]
        self.log_probs, self.tokens = self.log_probs[rows], self.tokens[rows]
        self.attention = None if self.attention is None else self.attention[rows]

    def _hypothesis(self, place: int, candidate: int, *, finished: bool) -> Hypothesis:
        tokens = self.tokens[place, candidate].tolist()
        read = None if self.attention is None else self.attention[place, candidate]
        covered = None if read is None else read.sum(0)
        log_prob = self.log_probs[place, candidate]
        score = float(self.ranking.scores(log_prob, len(tokens), covered))
        length = len(tokens) - finished
        return Hypothesis(
            tokens[:length], float(log_prob), score, finished, None if read is None else read[:length]
        )
