"""A detector's codec with a network that expects what came last: whole series, streams, and what is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longspan.tasks.anomaly.codec import Detection, Stream
from longspan.tasks.anomaly.reading import Reading, Series

HOW: dict[str, Any] = {"share": 0.2, "budget": 0.0, "quiet": 10}


class Last(nn.Module):
    """Expects of a reading what the one before was."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def follow(self, x: Tensor) -> tuple[Tensor, Any]:
        first = torch.full((1, 1), torch.nan)
        return torch.cat([first, x[:-1, :1]]), x[-1, :1].tolist()

    def step(self, row: Any, state: Any) -> tuple[Any, Any]:
        return state, torch.tensor(row[:1]).tolist()


def series(rows: int, seed: int = 0, name: str | None = None) -> Series:
    numbers = np.cumsum(np.random.default_rng(seed).normal(size=(rows, 1)), 0)
    times = [100 * seed + at for at in range(rows)]
    return Series(name, times, ("load",), numbers, (), np.empty((rows, 0), dtype=object), None)


def learnt(*records: Series, dynamic: bool = False) -> tuple[Detection, list[Stream]]:
    codec = Detection((), 1000, None, dynamic).fit(records)
    return codec, codec.settle(Last(), records, **HOW)


def fed(codec: Detection, one: Series, stream: Stream) -> list[tuple[float, bool]]:
    assert one.times is not None
    readings = zip(one.numbers.tolist(), one.times, strict=True)
    return [codec.take(Last(), Reading(number, [], one.name, time), stream) for number, time in readings]


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_stream_gives_what_a_series_gives_and_goes_on_as_it_was_kept(dynamic: bool) -> None:
    codec, _ = learnt(series(400, 0, "a"), series(300, 1, "b"), dynamic=dynamic)
    again = Detection((), 1000, None, dynamic).restore(codec.state())
    new = series(200, 2, "c")
    new.numbers[150] += 50.0
    frame = again.decode([again.follow(Last(), new)[0]], [new])
    assert frame.columns == ["id", "time", "score", "alarm", "cause"] and frame["score"][150] > 2.0
    stream = codec.stream()
    found = fed(codec, new.cut(0, 90), stream) + fed(
        codec, new.cut(90, 200), Stream.from_tree(stream.tree(stream.state), stream.state)
    )
    assert np.allclose([score for score, _ in found], frame["score"].to_numpy(), atol=1e-5)
    if not dynamic:
        assert [alarm for _, alarm in found] == frame["alarm"].to_list() and frame["cause"][150] == "load"


def test_the_stream_of_the_only_series_goes_on_in_it() -> None:
    codec, (stream,) = learnt(series(400))
    assert stream.time == 399 and stream.watches[0].fresh == 399
    with pytest.raises(ValueError, match="not before the last"):
        fed(codec, series(1), stream)
    _, (first, _) = learnt(series(400, 0, "a"), series(300, 1, "b"))
    assert first.watches[0].fresh == 0, "what was usual in all of them, and no course of errors yet"


def test_the_window_of_training_is_found() -> None:
    assert learnt(series(90))[0].sizes["context"] == 30 and learnt(series(900))[0].sizes["context"] == 100
    assert Detection((), 1000, 7).fit([series(90)]).sizes == {
        "inputs": 3,
        "numbers": 1,
        "categories": [],
        "context": 7,
    }
