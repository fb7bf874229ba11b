"""Searches for sequences over one step of a network: greedily, by sampling, with a beam; and CTC's searches.

A network is one function here: `step(tokens (R,), state) -> logits (R, V), state`. The function may return
a third value, the attention (R, S) over the S places of what it reads. A state is any nesting of tuples,
lists and dicts of tensors whose first dimension is the rows; for another layout, pass `reorder(state, rows)
-> state`.
"""

from .beam import beam
from .ctc import CTCBeam, LanguageModel, Transcript, ctc_align, ctc_beam, ctc_greedy
from .sampling import greedy, sample, stream
from .steps import Hypothesis, select_rows

__all__ = [
    "CTCBeam",
    "Hypothesis",
    "LanguageModel",
    "Transcript",
    "beam",
    "ctc_align",
    "ctc_beam",
    "ctc_greedy",
    "greedy",
    "sample",
    "select_rows",
    "stream",
]
