"""CTC searches beside the sum over all alignments."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import search


def random_frames(rows: int, frames: int, labels: int, seed: int = 0) -> Tensor:
    logits = torch.randn(rows, frames, labels, generator=torch.Generator().manual_seed(seed)) * 2
    return logits.log_softmax(-1)


def collapsed(path: tuple[int, ...], blank: int) -> tuple[int, ...]:
    return tuple(label for label, _ in itertools.groupby(path) if label != blank)


def every_text(log_probs: Tensor, blank: int) -> dict[tuple[int, ...], float]:
    """Log-probability of each text by all of its alignments; log_probs: (T, V)."""
    totals: dict[tuple[int, ...], float] = defaultdict(float)
    for path in itertools.product(range(log_probs.shape[1]), repeat=log_probs.shape[0]):
        totals[collapsed(path, blank)] += math.exp(float(sum(log_probs[t, v] for t, v in enumerate(path))))
    return {text: math.log(total) for text, total in totals.items()}


@pytest.mark.parametrize("blank, seed", [(0, 0), (2, 1), (1, 2)])
def test_the_beam_finds_the_likeliest_texts(blank: int, seed: int) -> None:
    log_probs = random_frames(1, 5, 3, seed)
    expected = every_text(log_probs[0], blank)
    best = sorted(expected, key=lambda text: -expected[text])[:4]
    found = search.ctc_beam(log_probs, beam_size=60, n_best=4, blank=blank, prune=1e9)[0]
    assert [tuple(t.tokens) for t in found] == best
    for transcript in found:
        assert math.isclose(transcript.log_prob, expected[tuple(transcript.tokens)], abs_tol=1e-6)


def test_the_beam_agrees_with_the_loss() -> None:
    log_probs = (random_frames(1, 30, 6, 3) * 3).log_softmax(-1)
    found = search.ctc_beam(log_probs, beam_size=30, prune=1e9)[0][0]
    loss = F.ctc_loss(
        log_probs.transpose(0, 1),
        torch.tensor([found.tokens]),
        torch.tensor([30]),
        torch.tensor([len(found.tokens)]),
        reduction="sum",
    )
    assert found.log_prob == pytest.approx(-float(loss), abs=0.05)  # but for what fell out of the beam


def test_greedy_takes_out_repetitions_and_blanks() -> None:
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    log_probs = F.one_hot(torch.tensor([path]), 3).float().mul(5).log_softmax(-1)
    found = search.ctc_greedy(log_probs)[0]
    assert found.tokens == [2, 2, 1] and found.frames == [1, 4, 5]
    assert found.log_prob == pytest.approx(float(log_probs[0, range(8), path].sum()), abs=1e-5)


def test_padding_changes_nothing() -> None:
    log_probs, lengths = random_frames(3, 9, 4, 4), torch.tensor([9, 4, 0])
    padded = log_probs.clone()
    for row, length in enumerate(lengths):
        padded[row, length:] = torch.nan
    for one in (search.ctc_greedy, lambda x, n=None: [t[0] for t in search.ctc_beam(x, n)]):
        together = one(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = one(log_probs[row : row + 1, :length])[0]
            assert alone.tokens == together[row].tokens and alone.frames == together[row].frames
        assert together[2].tokens == [] and together[2].log_prob == 0.0


def test_alignments_are_the_likeliest_of_all() -> None:
    log_probs, tokens = random_frames(1, 6, 3, 6)[0], [1, 1, 2]
    paths = [p for p in itertools.product(range(3), repeat=6) if collapsed(p, 0) == tuple(tokens)]
    best = max(paths, key=lambda p: float(sum(log_probs[t, v] for t, v in enumerate(p))))
    begins = [t for t, v in enumerate(best) if v != 0 and (t == 0 or best[t - 1] != v)]
    assert search.ctc_align(log_probs, tokens) == begins
    with pytest.raises(ValueError, match="tokens: expected as many as 3 frames can hold"):
        search.ctc_align(log_probs[:3], tokens)


def test_a_language_model_decides_between_like_texts() -> None:
    """Frames that do not tell 1 from 2; a model in which 2 follows 1 and 1 follows 2."""
    log_probs = torch.tensor([[0.1, 0.45, 0.45], [0.9, 0.05, 0.05]] * 3).log().unsqueeze(0)
    next_of = torch.tensor([[-9.0, 1.0, 0.0], [-9.0, -3.0, 0.0], [-9.0, 0.0, -3.0]])
    calls = []

    def step(tokens: Tensor, state: Tensor):
        calls.append(len(tokens))
        assert torch.equal(state[:, 0] > 0, tokens > 0)  # every prefix has its own state
        return next_of[tokens], state + 1

    model = search.LanguageModel(step, start=0, state=torch.zeros(1, 1), weight=1.0)
    found = search.ctc_beam(log_probs, beam_size=20, n_best=2, language_model=model)[0]
    assert found[0].tokens == [1, 2, 1] and found[0].score > found[1].score
    assert found[0].score < found[0].log_prob
    assert len(calls) <= 6 and max(calls) > 1  # once a frame, all prefixes together


def test_a_bonus_makes_texts_longer() -> None:
    log_probs = random_frames(1, 12, 4, 7)

    def step(tokens: Tensor, state: None):
        return torch.zeros(len(tokens), 4), state

    lengths = []
    for bonus in (-5.0, 5.0):
        model = search.LanguageModel(step, start=0, weight=0.1, bonus=bonus)
        lengths.append(len(search.ctc_beam(log_probs, language_model=model)[0][0].tokens))
    assert lengths[0] < lengths[1]


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda x: search.ctc_beam(x, beam_size=0), "beam_size: expected a whole number"),
        (lambda x: search.ctc_beam(x, n_best=99), "n_best: expected at most beam_size"),
        (lambda x: search.ctc_greedy(x, torch.tensor([99, 1])), "lengths: expected 2 numbers from 0 to 5"),
        (lambda x: search.ctc_greedy(x[0]), r"log_probs: expected shape \(B, T, V\)"),
    ],
)
def test_bad_arguments_are_one_sentence(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(random_frames(2, 5, 3))


def test_a_beam_reads_frames_piece_by_piece() -> None:
    log_probs = random_frames(1, 14, 4, 8)
    whole = search.ctc_beam(log_probs, beam_size=6, n_best=3)[0]
    beam = search.CTCBeam(6)
    for piece in log_probs[0].split([3, 0, 1, 10]):
        beam.read(piece)
    assert beam.transcripts(3) == whole
    assert search.CTCBeam(6).transcripts()[0].tokens == []


def test_tokens_end_behind_their_last_frame() -> None:
    path = [0, 2, 2, 0, 2, 1, 1, 0]
    log_probs = F.one_hot(torch.tensor([path]), 3).float().mul(5).log_softmax(-1)
    assert search.ctc_greedy(log_probs)[0].ends == [3, 5, 7]
    assert search.ctc_beam(log_probs)[0][0].ends == [3, 5, 7]
