"""Chunks of a stream to train on, and segments that score a document as a whole."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.tasks.language import batches
from longspan.tasks.language.batches import IGNORED, SegmentBatches, StreamBatches


def test_a_stream_goes_on_from_chunk_to_chunk() -> None:
    stream = np.arange(1000)
    found = StreamBatches(stream, 4, 30)
    torch.manual_seed(0)
    parts = list(found)
    assert len(parts) == len(found) == 9 and found.tokens == 996
    assert [part.continues for part in parts] == [False] + [True] * 8
    x, y = (torch.cat([getattr(part, name) for part in parts], 1) for name in "xy")
    assert torch.equal(x[:, 1:], y[:, :-1]) and torch.equal((x + 1) % 1000, y)
    assert len(set(x.flatten().tolist())) == x.numel(), "every token once an epoch"
    assert not torch.equal(x, torch.cat([part.x for part in found], 1)), "another start in the next epoch"


def test_a_short_stream_has_fewer_rows() -> None:
    assert [StreamBatches(np.arange(n), 16, 100).rows for n in (3, 33, 65, 600)] == [1, 1, 2, 16]
    assert [part.x.tolist() for part in StreamBatches(np.array([3, 7]), 16, 5)] == [[[3]]]


@pytest.mark.parametrize("ends", [False, True])
def test_segments_cover_every_token_once(ends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "SEGMENT", 7)
    monkeypatch.setattr(batches, "CONTEXT", 4)
    monkeypatch.setattr(batches, "_AT_ONCE", 40)
    documents = [np.arange(10, 10 + n) for n in (0, 1, 6, 7, 8, 20)]
    scored: dict[tuple[int, int], int] = {}
    weights = targets = 0.0
    for batch in SegmentBatches(documents, ends=ends):
        assert batch.weight is not None and batch.lengths is not None
        weights += float(batch.weight.sum())
        for row in range(len(batch.y)):
            document, at, place = int(batch.x.document[row]), int(batch.x.begin[row]), 0
            for place in (batch.y[row] != IGNORED).nonzero().flatten().tolist():
                whole = [3, *documents[document].tolist(), 3]
                first = max(0, at - (place - int((batch.y[row] != IGNORED).nonzero()[0])))
                assert batch.x.tokens[row, place] == whole[at] and batch.y[row, place] == whole[at + 1], first
                scored[document, at] = scored.get((document, at), 0) + 1
                at, targets = at + 1, targets + 1
            assert place < batch.lengths[row]
    wanted = {(n, at) for n, tokens in enumerate(documents) for at in range(len(tokens) + ends)}
    assert set(scored) == wanted and set(scored.values()) == {1}
    assert weights == pytest.approx(targets), "so that the mean over rows is one over tokens"
