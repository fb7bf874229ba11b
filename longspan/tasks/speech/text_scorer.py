"""Language models that a search weighs in: an n-gram of the training texts, or a fitted LanguageModel."""

from __future__ import annotations

import abc
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.ngram import KneserNey
from longspan.data.tokenizers import END, SPECIAL, UNKNOWN
from longspan.search import LanguageModel
from longspan.tasks.estimator import Estimator
from longspan.tasks.pretrained import PretrainedText, TokenScorer, token_scorer

from .tokens import SpeechTokens

_END, _UNKNOWN = SPECIAL.index(END), SPECIAL.index(UNKNOWN)
_NONE = -1  # in a context: no token yet


class TextScorer(abc.ABC):
    """Gives the probability of the next token after those of a beginning. Abstract."""

    @abc.abstractmethod
    def fit(self, rows: Sequence[Sequence[int]], tokens: SpeechTokens) -> None:
        """Learn from, or adapt to, the token numbers of the training texts."""

    @abc.abstractmethod
    def search_model(self, weight: float, bonus: float) -> LanguageModel:
        """As a search takes it; weight: of its log-probabilities; bonus: added for every token."""

    @abc.abstractmethod
    def state(self) -> Any:
        """Plain values and tensors."""

    @abc.abstractmethod
    def restore(self, state: Any, tokens: SpeechTokens) -> None:
        """Take what `state` returned."""


class NGramScorer(TextScorer):
    """A Kneser-Ney n-gram of the training texts' tokens.

    Args:
        order: n.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.ngram = KneserNey(len(SPECIAL), 1)

    def fit(self, rows: Sequence[Sequence[int]], tokens: SpeechTokens) -> None:
        text = [_END] + [number for row in rows for number in (*row, _END)]
        self.ngram = KneserNey(tokens.size, self.order).fit(np.array(text))

    def search_model(self, weight: float, bonus: float) -> LanguageModel:
        state = torch.full((1, max(1, self.ngram.order - 1)), _NONE)
        return LanguageModel(self._step, _END, state, weight, bonus)

    def _step(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probabilities (R, V) after the last tokens (R,) and those before them (R, n - 1)."""
        state = torch.cat([state[:, 1:], tokens.unsqueeze(1)], 1)
        contexts = [[number for number in row if number != _NONE] for row in state.tolist()]
        probs = np.stack([self.ngram.next_probs(context) for context in contexts])
        return torch.from_numpy(probs).log(), state

    def state(self) -> Any:
        return self.ngram.state()

    def restore(self, state: Any, tokens: SpeechTokens) -> None:
        self.ngram = KneserNey.from_state(state)


class PretrainedScorer(TextScorer):
    """A fitted `LanguageModel` over the same kind of tokens; the recognizer's file holds its file.

    Args:
        model: the fitted model, or the path of its file; None for one that is restored.
    """

    def __init__(self, model: PretrainedText | str | None = None) -> None:
        self.model = model
        self.content = torch.zeros(0, dtype=torch.uint8)  # of the model's file

    def fit(self, rows: Sequence[Sequence[int]], tokens: SpeechTokens) -> None:
        if self.model is None:
            return
        self._take(token_scorer(self.model), tokens)
        self.content = torch.frombuffer(bytearray(_content(self.model)), dtype=torch.uint8)

    def _take(self, scorer: TokenScorer, tokens: SpeechTokens) -> None:
        if scorer.token_level != tokens.level:
            expected = f"a model over {tokens.level}, as the recognizer's labels are"
            way_out = "fit one with this token_level, or choose token_level here"
            raise errors.value_error("language_model", expected, f"one over {scorer.token_level}", way_out)
        self.scorer = scorer
        pieces = tokens.tokenizer.tokens[len(SPECIAL) :]
        number_of = {piece: number for number, piece in enumerate(scorer.tokens)}
        self.numbers = torch.tensor([_UNKNOWN] * len(SPECIAL) + [number_of.get(p, _UNKNOWN) for p in pieces])
        self.numbers[_END] = scorer.start
        unknown = [piece for piece in pieces if piece not in number_of]
        if unknown:
            listed = ", ".join(map(repr, unknown[:5])) + (" and others" if len(unknown) > 5 else "")
            errors.notice(f"The language model has never seen {listed}; it takes them as unknown.")

    def search_model(self, weight: float, bonus: float) -> LanguageModel:
        return LanguageModel(self._step, _END, self.scorer.state, weight, bonus)

    def _step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        with torch.no_grad():
            logits, state = self.scorer.step(self.numbers[tokens], state)
        scores = logits.log_softmax(-1)[:, self.numbers]
        scores[:, : len(SPECIAL)] = -torch.inf
        return scores, state

    def state(self) -> Any:
        return self.content

    def restore(self, state: Any, tokens: SpeechTokens) -> None:
        self.content = state
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model"
            path.write_bytes(state.numpy().tobytes())
            self._take(token_scorer(str(path)), tokens)


def _content(model: PretrainedText | str) -> bytes:
    """The bytes of a fitted model's file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        if isinstance(model, Estimator):
            model.save(path)
        return (path if isinstance(model, Estimator) else Path(str(model))).read_bytes()
