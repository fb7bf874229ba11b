"""Batches: in order, loaded ahead in threads, equal for equal seeds; targets follow what is done to clips."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch

from longspan import VideoClassifier
from longspan.data.batches import Batch
from longspan.data.labels import IGNORED
from longspan.tasks.video.batches import TrainingBatches, ahead, jittered

from .conftest import moving_clips, swinging, with_boxes


def test_the_next_batches_are_loaded_meanwhile_and_in_order() -> None:
    loaded, second = [], threading.Event()

    def load(task: int) -> Batch:
        loaded.append(task)
        if task == 1:
            second.set()
        return Batch(torch.tensor([task]))

    batches = ahead(load, range(9))
    assert int(next(batches).x) == 0
    assert second.wait(5)  # without anybody having asked for it
    assert [int(batch.x) for batch in batches] == list(range(1, 9))
    assert sorted(loaded) == list(range(9))


def test_only_a_few_batches_are_held_at_a_time() -> None:
    loaded: list[int] = []
    batches = ahead(lambda task: loaded.append(task) or Batch(torch.tensor([task])), range(50))
    next(batches)
    batches.close()  # pyright: ignore[reportAttributeAccessIssue], a generator
    assert len(loaded) <= 5


def test_an_error_reaches_the_reader() -> None:
    def load(task: int) -> Batch:
        raise ValueError(f"clip {task}")

    with pytest.raises(ValueError, match="clip 0"):
        list(ahead(load, range(3)))


def fitted(clips: Any, y: Any, **options: Any) -> tuple[VideoClassifier, Any, Any]:
    task = VideoClassifier(batch_size=4, **options)
    records = task.read(clips, y)
    return task, task.codec().fit(records), records


def test_the_same_seed_gives_the_same_batches() -> None:
    task, codec, records = fitted(*moving_clips(10), time_jitter=0.3, flip=0.5)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append([batch.x for batch in task.batches(codec, records, train=True)])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(runs[0], runs[2], strict=True))


@pytest.mark.parametrize("make", [moving_clips, swinging], ids=["frames", "skeletons"])
def test_processes_make_their_own_rows_of_the_same_batches(make: Any) -> None:
    task, codec, records = fitted(*make(9), time_jitter=0.3)  # batches of 4, 4 and 1
    batches = task.batches(codec, records, train=True)
    assert isinstance(batches, TrainingBatches)
    torch.manual_seed(0)
    whole = list(batches)
    for rank in range(2):
        torch.manual_seed(0)
        for batch, (part, rows) in zip(whole, batches.parts(rank, 2), strict=True):
            assert batch.lengths is not None and part.lengths is not None
            own = torch.arange(rows)[rank::2] if rows > rank else torch.tensor([0])
            assert rows == len(batch.x) and torch.equal(part.lengths, batch.lengths[own])
            assert torch.equal(part.x, batch.x[own, : part.x.shape[1]]) and torch.equal(part.y, batch.y[own])


def test_batches_to_predict_from_keep_order_and_lengths() -> None:
    task, codec, records = fitted(*moving_clips(10))
    batches = list(task.batches(codec, records, train=False))
    lengths = [length for batch in batches for length in batch.lengths.tolist()]  # pyright: ignore[reportOptionalMemberAccess]
    assert lengths == [len(record.values) for record in records]
    assert torch.cat([batch.y for batch in batches]).tolist() == [0, 1] * 5


def test_boxes_are_moved_with_their_frames() -> None:
    options = {"shift": 0.2, "flip": 0.5, "time_jitter": 0.2, "brightness": 0.0}
    task, codec, records = fitted(*with_boxes(8), **options)
    torch.manual_seed(0)
    for batch in task.batches(codec, records, train=True):
        bright = batch.x > batch.x.amax() - 1e-3
        for clip, boxes in zip(bright, batch.y, strict=True):
            for frame, (presence, x, y, w, h) in zip(clip[:, 0], boxes[:, 0].tolist(), strict=True):
                rows, columns = frame.nonzero(as_tuple=True)
                inside = presence > 0 and min(x - w / 2, y - h / 2) >= 0 and max(x + w / 2, y + h / 2) <= 1
                if inside and len(rows) == 25:  # no border is repeated over it
                    assert int(columns.min()) == round(16 * (x - w / 2))
                    assert int(rows.min()) == round(16 * (y - h / 2))


def test_labels_of_padding_do_not_count() -> None:
    clips, _ = moving_clips(4)
    steps = [["a" if step % 2 else "b" for step in range(len(clip))] for clip in clips]
    task, codec, records = fitted(clips, steps)
    (batch,) = task.batches(codec, records, train=False)
    assert (batch.y == IGNORED).sum(1).tolist() == [7 - len(clip) for clip in clips]


def test_jitter_keeps_the_order_of_frames_within_its_limits() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [jittered(21, 0.2, generator) for _ in range(100)]
    assert all(bool((places.diff() >= 0).all()) and places[0] >= 0 and places[-1] <= 20 for places in drawn)
    assert max(int(places[0]) for places in drawn) in (3, 4)
    assert len({len(places) for places in drawn}) > 5
    assert jittered(1, 0.2, generator).tolist() == [0]
