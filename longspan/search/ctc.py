"""Reads texts from the frames of a CTC network: greedy search, prefix beam search, alignment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from longspan import errors

from .steps import Step, call_step, select_rows


class Transcript(NamedTuple):
    """What a CTC search read in a row.

    tokens: without blanks; score: what the search ranks by, log_prob plus a language model's share;
    log_prob: of the alignment (`ctc_greedy`) or of all alignments that the beam kept (`ctc_beam`), natural
    logarithm; frames, ends: of each token the frame at which it begins and the one behind its last, in the
    likeliest alignment.
    """

    tokens: list[int]
    score: float
    log_prob: float
    frames: list[int]
    ends: list[int]


def ctc_greedy(log_probs: Tensor, lengths: Tensor | None = None, *, blank: int = 0) -> list[Transcript]:
    """The likeliest label of every frame, repetitions and blanks taken out.

    Args:
        log_probs: (B, T, V) natural logarithms; lengths: (B,) frames that count, None for all.
        blank: the label that stands for no token.

    >>> scores = torch.tensor([[[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]]).log()
    >>> ctc_greedy(scores)[0][0], ctc_greedy(scores)[0][3]
    ([1, 1], [0, 3])
    """
    best, labels = log_probs.max(-1)
    return [
        _collapsed(labels[row, :length].tolist(), float(best[row, :length].double().sum()), blank)
        for row, length in enumerate(_frames(log_probs, lengths))
    ]


def _frames(log_probs: Tensor, lengths: Tensor | None) -> list[int]:
    if log_probs.dim() != 3:
        raise errors.value_error(
            "log_probs", "shape (B, T, V)", tuple(log_probs.shape), "add the dimension of rows"
        )
    B, T = log_probs.shape[:2]
    counts = [T] * B if lengths is None else [int(n) for n in lengths]
    if len(counts) != B or not all(0 <= n <= T for n in counts):
        raise errors.value_error(
            "lengths", f"{B} numbers from 0 to {T}", counts, "a row has at most T frames"
        )
    return counts


def _collapsed(labels: Sequence[int], log_prob: float, blank: int) -> Transcript:
    runs = [t for t, label in enumerate(labels) if t == 0 or labels[t - 1] != label]
    spans = zip(runs, [*runs[1:], len(labels)], strict=False)
    kept = [(begin, end) for begin, end in spans if labels[begin] != blank]
    begins = [begin for begin, _ in kept]
    return Transcript([labels[t] for t in begins], log_prob, log_prob, begins, [end for _, end in kept])


class LanguageModel(NamedTuple):
    """What weighs the tokens of a CTC search: a step like any other search's.

    step: (tokens (R,), state) -> logits (R, V), state, over the same token numbers as the CTC's labels;
    start: the first token; state: for one row (B = 1), before the start; weight: of its log-probability;
    bonus: added for every token, as the product of probabilities favours short texts.
    """

    step: Step
    start: int
    state: Any = None
    weight: float = 0.5
    bonus: float = 0.0


def ctc_beam(
    log_probs: Tensor,
    lengths: Tensor | None = None,
    *,
    beam_size: int = 16,
    n_best: int = 1,
    blank: int = 0,
    prune: float = 8.0,
    language_model: LanguageModel | None = None,
) -> list[list[Transcript]]:
    """The likeliest texts by prefix beam search: a text counts by the sum of its alignments.

    Source: Hannun et al. 2014, arXiv 1408.2873; labels: Graves et al. 2006, "Connectionist temporal
        classification".

    Args:
        log_probs, lengths, blank: as for `ctc_greedy`.
        beam_size: prefixes kept a frame.
        n_best: transcripts a row, at most beam_size.
        prune: labels of a frame whose log-probability lies further below the best one's are not tried.
        language_model: weighs prefixes by `weight` * its log-probability + `bonus` for each token.

    Returns:
        For each row at most n_best transcripts, the best first; one without tokens for a row without frames.
    """
    errors.check_int("beam_size", beam_size, 1, "give the number of prefixes kept")
    errors.check_int("n_best", n_best, 1, "give the number of transcripts a row")
    if n_best > beam_size:
        raise errors.value_error("n_best", f"at most beam_size, {beam_size}", n_best, "raise beam_size")
    found = []
    for row, length in enumerate(_frames(log_probs, lengths)):
        search = CTCBeam(beam_size, blank=blank, prune=prune, language_model=language_model)
        search.read(log_probs[row, :length])
        found.append(search.transcripts(n_best))
    return found


@dataclass(eq=False)
class _Prefix:
    """A node of the tree of prefixes: a token after its parent.

    blank, label: log-probabilities of the alignments that end in a blank and in the token; weighed: the
    language model's share of the score; heard: its log-probabilities of the next token, and its state
    behind this one.
    """

    parent: _Prefix | None
    token: int
    blank: float = -math.inf
    label: float = -math.inf
    weighed: float = 0.0
    heard: tuple[list[float], Any] | None = None

    def total(self) -> float:
        return _log_add(self.blank, self.label)

    def score(self) -> float:
        return self.total() + self.weighed

    def tokens(self) -> list[int]:
        tokens, node = [], self
        while node.parent is not None:
            tokens.append(node.token)
            node = node.parent
        return tokens[::-1]


def _log_add(a: float, b: float) -> float:
    if a < b:
        a, b = b, a
    return a if b == -math.inf else a + math.log1p(math.exp(b - a))


class CTCBeam:
    """The prefix beam search of one row, which takes its frames piece by piece.

    Args:
        beam_size, blank, prune, language_model: as for `ctc_beam`.

    >>> search = CTCBeam(4)
    >>> search.read(torch.tensor([[0.1, 0.9], [0.9, 0.1]]).log())
    >>> search.transcripts()[0].tokens
    [1]
    """

    def __init__(
        self,
        beam_size: int = 16,
        *,
        blank: int = 0,
        prune: float = 8.0,
        language_model: LanguageModel | None = None,
    ) -> None:
        self.beam_size, self.blank, self.prune, self.model = beam_size, blank, prune, language_model
        self.children: dict[tuple[int, int], _Prefix] = {}  # by the parent's id and the token
        self.root = _Prefix(None, -1, blank=0.0)
        self.beam = [self.root]
        self.frames: list[Tensor] = []

    def read(self, log_probs: Tensor) -> None:
        """Search on through more frames (T, V)."""
        log_probs = log_probs.double().cpu()
        self.frames.append(log_probs)
        for frame in log_probs:
            tried = (frame >= frame.max() - self.prune).nonzero().squeeze(1).tolist()
            labels = [label for label in tried if label != self.blank]
            self._advance(float(frame[self.blank]), frame.tolist(), labels)

    def transcripts(self, count: int = 1) -> list[Transcript]:
        """The best texts of the frames so far, at most `count` of them."""
        frames = torch.cat(self.frames) if self.frames else torch.zeros(0, 1)
        return [self._transcript(prefix, frames) for prefix in self.beam[:count]]

    def state(self) -> dict[str, Any]:
        """Tensors, and the language model's states, from which `restore` searches on to the same bits.

        All prefixes that were tried are kept, the parents before their children: N of them.
        """
        nodes = [self.root, *self.children.values()]
        number = {id(node): at for at, node in enumerate(nodes)}
        heard = [(at, *node.heard) for at, node in enumerate(nodes) if node.heard is not None]
        return {
            "frames": torch.cat(self.frames) if self.frames else None,
            "parents": torch.tensor(
                [-1 if node.parent is None else number[id(node.parent)] for node in nodes]
            ),
            "tokens": torch.tensor([node.token for node in nodes]),
            "scores": torch.tensor(
                [[node.blank, node.label, node.weighed] for node in nodes], dtype=torch.float64
            ),
            "beam": torch.tensor([number[id(node)] for node in self.beam]),
            "heard": torch.tensor([at for at, _, _ in heard], dtype=torch.int64),
            "rows": torch.tensor([row for _, row, _ in heard], dtype=torch.float64),
            "states": _joined([state for _, _, state in heard]) if heard else None,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` returned, in a search of the same options that has read nothing."""
        self.frames = [] if state["frames"] is None else [state["frames"]]
        nodes: list[_Prefix] = []
        columns = (state[name].tolist() for name in ("parents", "tokens", "scores"))
        for parent, token, scores in zip(*columns, strict=True):
            nodes.append(_Prefix(None if parent < 0 else nodes[parent], token, *scores))
        for row, (at, heard) in enumerate(zip(state["heard"].tolist(), state["rows"].tolist(), strict=True)):
            nodes[at].heard = heard, select_rows(state["states"], torch.tensor([row]))
        self.root, self.beam = nodes[0], [nodes[at] for at in state["beam"].tolist()]
        self.children = {(id(node.parent), node.token): node for node in nodes[1:]}

    def _transcript(self, prefix: _Prefix, log_probs: Tensor) -> Transcript:
        tokens = prefix.tokens()
        begins, ends = _aligned(log_probs, tokens, self.blank)
        return Transcript(tokens, prefix.score(), prefix.total(), begins, ends)

    def _advance(self, blank: float, frame: list[float], labels: list[int]) -> None:
        if self.model is not None and labels:
            self._hear(self.model)
        found: dict[int, tuple[_Prefix, list[float]]] = {}

        def add(prefix: _Prefix, which: int, value: float) -> None:
            sums = found.setdefault(id(prefix), (prefix, [-math.inf, -math.inf]))[1]
            sums[which] = _log_add(sums[which], value)

        for prefix in self.beam:
            total = prefix.total()
            add(prefix, 0, total + blank)
            if prefix.parent is not None:
                add(prefix, 1, prefix.label + frame[prefix.token])
            for label in labels:
                before = prefix.blank if label == prefix.token else total
                if before > -math.inf:
                    add(self._child(prefix, label), 1, before + frame[label])
        for prefix in self.beam:
            prefix.blank = prefix.label = -math.inf
        for prefix, sums in found.values():
            prefix.blank, prefix.label = sums
        ranked = sorted((prefix for prefix, _ in found.values()), key=_Prefix.score, reverse=True)
        for prefix in ranked[self.beam_size :]:
            prefix.blank = prefix.label = -math.inf
        self.beam = ranked[: self.beam_size]

    def _child(self, prefix: _Prefix, label: int) -> _Prefix:
        child = self.children.get((id(prefix), label))
        if child is None:
            child = self.children[id(prefix), label] = _Prefix(prefix, label)
            if self.model is not None and prefix.heard is not None:
                heard = self.model.weight * prefix.heard[0][label]
                child.weighed = prefix.weighed + heard + self.model.bonus
        return child

    def _hear(self, model: LanguageModel) -> None:
        """Ask the language model what follows the prefixes that it has not been asked about, all at once."""
        new = [prefix for prefix in self.beam if prefix.heard is None]
        if not new:
            return
        states = [model.state if prefix.parent is None else _state_before(prefix) for prefix in new]
        tokens = torch.tensor([model.start if prefix.parent is None else prefix.token for prefix in new])
        logits, state, _ = call_step(model.step, tokens, _joined(states))
        rows = logits.double().log_softmax(-1).tolist()
        for i, prefix in enumerate(new):
            prefix.heard = rows[i], select_rows(state, torch.tensor([i]))


def _state_before(prefix: _Prefix) -> Any:
    """The language model's state after the parent, which was in the beam before its children."""
    parent = prefix.parent
    assert parent is not None and parent.heard is not None
    return parent.heard[1]


def _joined(states: Sequence[Any]) -> Any:
    """States of one row each as one of several rows."""
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(list(states))
    if isinstance(first, dict):
        return {name: _joined([state[name] for state in states]) for name in first}
    if first is None:
        return None
    parts = [_joined(parts) for parts in zip(*states, strict=True)]
    return type(first)(*parts) if type(first) not in (tuple, list) else type(first)(parts)


def ctc_align(log_probs: Tensor, tokens: Sequence[int], *, blank: int = 0) -> list[int]:
    """The frame at which each token begins in the likeliest alignment (Viterbi).

    Args:
        log_probs: (T, V) natural logarithms; tokens: at most T, one frame more for each repeated token.

    Raises:
        ValueError: there are more tokens than the frames can hold.

    >>> ctc_align(torch.tensor([[0.1, 0.9], [0.2, 0.8], [0.9, 0.1], [0.3, 0.7]]).log(), [1, 1])
    [0, 3]
    """
    return _aligned(log_probs, tokens, blank)[0]


def _aligned(log_probs: Tensor, tokens: Sequence[int], blank: int) -> tuple[list[int], list[int]]:
    """The frame at which each token begins in the likeliest alignment, and the one behind its last."""
    if not tokens:
        return [], []
    labels = torch.full((2 * len(tokens) + 1,), blank, dtype=torch.int64)
    labels[1::2] = torch.tensor(list(tokens))
    emitted = log_probs.double().cpu()[:, labels]
    jumps = torch.zeros(len(labels), dtype=torch.bool)  # over the blank between two unlike tokens
    jumps[3::2] = labels[3::2] != labels[1:-2:2]
    scores = torch.full((len(labels) + 2,), -torch.inf, dtype=torch.float64)  # two places before the first
    scores[2] = 0.0
    steps = []
    for frame in emitted:
        two = scores[:-2].masked_fill(~jumps, -torch.inf)
        best, step = torch.stack([scores[2:], scores[1:-1], two]).max(0)
        steps.append(step.tolist())
        scores[2:] = best + frame
    place = len(labels) - 1 - int(scores[-2] > scores[-1])
    if float(scores[2 + place]) == -math.inf:
        raise errors.value_error(
            "tokens", f"as many as {len(emitted)} frames can hold", len(tokens), "give more frames"
        )
    path = []
    for step in reversed(steps):
        path.append(place)
        place -= step[place]
    path.reverse()
    begins = [path.index(2 * i + 1) for i in range(len(tokens))]
    return begins, [begin + path.count(2 * i + 1) for i, begin in enumerate(begins)]
