"""Commands, texts, times of words and confidences beside sums over all alignments."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.search import ctc_greedy
from longspan.tasks.speech.decoding import (
    best_commands,
    command_log_probs,
    spoken_words,
    text_log_probs,
)
from longspan.tasks.speech.tokens import SpeechTokens


def random_steps(rows: int, steps: int, labels: int, seed: int = 0) -> Tensor:
    logits = torch.randn(rows, steps, labels, generator=torch.Generator().manual_seed(seed)) * 2
    return logits.log_softmax(-1)


def from_path(path: list[int], labels: int) -> Tensor:
    return F.one_hot(torch.tensor([path]), labels).float().mul(6).log_softmax(-1)


def test_a_command_counts_by_all_its_alignments() -> None:
    log_probs, lengths = random_steps(2, 5, 7), torch.tensor([5, 3])
    found = command_log_probs(log_probs, lengths)
    for row, length in enumerate(lengths.tolist()):
        for label in (4, 5, 6):
            total = 0.0
            for path in itertools.product((0, label), repeat=length):
                if [key for key, _ in itertools.groupby(path) if key] == [label]:
                    total += math.exp(sum(float(log_probs[row, t, v]) for t, v in enumerate(path)))
            assert float(found[row, label]) == pytest.approx(math.log(total), abs=1e-6)
    assert (found[:, :4] == -math.inf).all()


def test_commands_of_sure_networks_and_long_sounds() -> None:
    log_probs = (random_steps(1, 3000, 6, 1) * 40).log_softmax(-1)
    found = command_log_probs(log_probs, torch.tensor([3000]))[0, 4:]
    for label, value in zip((4, 5), found.tolist(), strict=True):
        steps, count = torch.tensor([3000]), torch.tensor([1])
        first = log_probs.double().transpose(0, 1)
        loss = F.ctc_loss(first, torch.tensor([[label]]), steps, count, reduction="sum")
        assert value == pytest.approx(-float(loss), rel=1e-9)


def test_gradients_of_commands_are_those_of_the_ctc_loss() -> None:
    ours, theirs = (random_steps(1, 6, 6, 2).requires_grad_() for _ in range(2))
    command_log_probs(ours, torch.tensor([6]))[0, 5].backward()
    steps, count = torch.tensor([6]), torch.tensor([1])
    (-F.ctc_loss(theirs.transpose(0, 1), torch.tensor([[5]]), steps, count, reduction="sum")).backward()
    assert ours.grad is not None and theirs.grad is not None
    shares = theirs.detach().exp()  # torch's gradient is that of the logits
    gradient = ours.grad - shares * ours.grad.sum(-1, keepdim=True)
    assert torch.allclose(gradient, theirs.grad, atol=1e-5)


def test_the_likeliest_command_has_its_share_and_time() -> None:
    tokens = SpeechTokens("commands").fit(["go", "stop"])
    log_probs = torch.cat([from_path([0, 0, 5, 5, 0, 0], 6), from_path([4, 4, 4, 0, 0, 0], 6)])
    first, second, none = best_commands(
        torch.cat([log_probs, log_probs[:1]]), torch.tensor([6, 2, 0]), tokens, 0.5
    )
    assert (first.text, second.text, none.text) == ("stop", "go", "")
    assert 0.9 < first.confidence <= 1.0 and none.confidence == 0.0 and none.words == []
    assert (first.words[0].start, first.words[0].end) == (1.0, 2.0)
    assert len(second.log_probs) == 2


def test_texts_count_by_all_their_alignments() -> None:
    log_probs, lengths = random_steps(3, 5, 3, 3), torch.tensor([5, 2, 0])
    found = text_log_probs(log_probs, lengths, [[1, 2], [], []])
    paths = [p for p in itertools.product(range(3), repeat=5) if _collapsed(p) == [1, 2]]
    total = sum(math.exp(sum(float(log_probs[0, t, v]) for t, v in enumerate(p))) for p in paths)
    assert found[0] == pytest.approx(math.log(total), abs=1e-6)
    assert found[1] == pytest.approx(float(log_probs[1, :2, 0].sum()), abs=1e-6) and found[2] == 0.0


def _collapsed(path: tuple[int, ...]) -> list[int]:
    return [label for label, _ in itertools.groupby(path) if label]


def test_words_have_times_and_confidences() -> None:
    tokens = SpeechTokens("characters").fit(["ab c"])
    a, b, blank, c = tokens.encode("ab c")
    log_probs = from_path([0, a, a, 0, b, 0, blank, 0, c, c, c, 0], tokens.size)
    transcript = ctc_greedy(log_probs)[0]
    words = spoken_words(log_probs[0], transcript, tokens, 0.1)
    assert [word.word for word in words] == ["ab", "c"]
    assert [(round(word.start, 6), round(word.end, 6)) for word in words] == [(0.1, 0.5), (0.8, 1.1)]
    peak = float(log_probs[0].max().exp())
    assert words[0].confidence == pytest.approx(peak**2) and words[1].confidence == pytest.approx(peak)
