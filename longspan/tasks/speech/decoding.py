"""Computes the likeliest command, times of words and confidences from CTC log-probabilities."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan.data.padding import sequence_mask
from longspan.data.tokenizers import SPECIAL
from longspan.search import Transcript

from .tokens import BLANK, SpeechTokens


class SpokenWord(NamedTuple):
    """word: its text; start, end: in seconds from the beginning of the sound; confidence: from 0 to 1."""

    word: str
    start: float
    end: float
    confidence: float


class Transcription(NamedTuple):
    """What was heard in a sound.

    text; confidence: the network's probability of the whole text, for commands among all commands; words;
    log_probs: (S, V) the labels' log-probabilities, float32.
    """

    text: str
    confidence: float
    words: list[SpokenWord]
    log_probs: Tensor


def command_log_probs(log_probs: Tensor, lengths: Tensor) -> Tensor:
    """The CTC log-probability of every text of one token, (B, V) float64; -inf for special tokens.

    A text of the token v is blanks, then v once or more, then blanks (Graves et al. 2006, equation 4). C and
    D are cumulative sums over time, of the blank and of v. With them, the sum over where v begins and ends
    is one cumulative logsumexp.

    Args:
        log_probs: (B, S, V) natural logarithms; lengths: (B,) real steps; a row without any gives -inf.

    >>> halves = torch.full((1, 2, 6), 0.5).log()
    >>> command_log_probs(halves, torch.tensor([2])).exp()[0, 4]  # v v, blank v, v blank
    tensor(0.7500, dtype=torch.float64)
    """
    real = sequence_mask(lengths, log_probs.shape[1], device=log_probs.device).unsqueeze(2)
    values = torch.where(real, log_probs.double(), 0.0)
    blank = values[:, :, BLANK : BLANK + 1]
    label = values.cumsum(1)  # D
    before = blank.cumsum(1) - blank  # C of the steps before each one
    begins = torch.where(real, before - (label - values), -torch.inf).logcumsumexp(1)
    ends = label + begins + (blank.sum(1, keepdim=True) - before - blank)
    scores = torch.where(real, ends, -torch.inf).logsumexp(1)
    special = torch.arange(scores.shape[1], device=scores.device) < len(SPECIAL)
    return scores.masked_fill(special, -torch.inf)


def text_log_probs(log_probs: Tensor, lengths: Tensor, rows: Sequence[Sequence[int]]) -> list[float]:
    """The CTC log-probability of a text for every row, by the sum over its alignments.

    Args:
        log_probs: (B, S, V) natural logarithms; lengths: (B,) real steps; rows: the token numbers of B texts.
    """
    if not log_probs.shape[1]:
        return [0.0 if not row else -math.inf for row in rows]
    targets = torch.tensor([number for row in rows for number in row], dtype=torch.int64)
    counts = torch.tensor([len(row) for row in rows])
    losses = F.ctc_loss(
        log_probs.double().transpose(0, 1), targets, lengths, counts, blank=BLANK, reduction="none"
    )
    return (-losses).tolist()


def best_commands(
    log_probs: Tensor, lengths: Tensor, tokens: SpeechTokens, step: float
) -> list[Transcription]:
    """The likeliest command of every row; "" with confidence 0 for a row without steps.

    Args:
        log_probs: (B, S, V); lengths: (B,); tokens: of the labels; step: seconds of a step.
    """
    shares = command_log_probs(log_probs, lengths).softmax(-1)
    best = shares[:, len(SPECIAL) :].argmax(-1) + len(SPECIAL)
    answers = []
    for row, (number, length) in enumerate(zip(best.tolist(), lengths.tolist(), strict=True)):
        steps = log_probs[row, :length]
        if not length:
            answers.append(Transcription("", 0.0, [], steps))
            continue
        text, confidence = tokens.decode([number]), float(shares[row, number])
        peak = int(steps[:, number].argmax())
        heard = (steps[:, number] >= steps[:, BLANK]).nonzero().squeeze(1).tolist() or [peak]
        word = SpokenWord(text, heard[0] * step, (heard[-1] + 1) * step, confidence)
        answers.append(Transcription(text, confidence, [word], steps))
    return answers


def spoken_words(
    log_probs: Tensor, transcript: Transcript, tokens: SpeechTokens, step: float
) -> list[SpokenWord]:
    """The words of a transcript with their times and confidences.

    A word begins at the step at which its first token begins, and ends behind the last step of its last
    token, in the likeliest alignment. Its confidence is the product of the probabilities of its tokens, each
    at the step at which it is likeliest.

    Args:
        log_probs: (S, V); tokens: of the labels; step: seconds of a step.
    """
    numbers = tokens.word_numbers(transcript.tokens)
    peaks = [
        float(log_probs[begin:end, token].max().exp())
        for token, begin, end in zip(transcript.tokens, transcript.frames, transcript.ends, strict=True)
    ]
    words = []
    for word in range(max(numbers, default=-1) + 1):
        at = [place for place, number in enumerate(numbers) if number == word]
        text = tokens.decode([transcript.tokens[place] for place in at])
        begin, end = transcript.frames[at[0]] * step, transcript.ends[at[-1]] * step
        words.append(SpokenWord(text, begin, end, math.prod(peaks[place] for place in at)))
    return words
