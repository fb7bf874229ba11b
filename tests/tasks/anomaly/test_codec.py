"""The detector's codec: a stream gives the scores of a whole series, and its saved state continues it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longspan.data import Batch
from longspan.tasks.anomaly.codec import AnomalyCodec
from longspan.tasks.anomaly.network import EncodedReading, Predictor
from longspan.tasks.anomaly.reading import Reading, Series
from longspan.tasks.anomaly.streaming import DetectorStream

HOW: dict[str, Any] = {"share": 0.2, "false_positive_rate": 0.0, "min_gap": 10, "continues": True}


class Last(Predictor):
    """Expects of a reading what the one before was."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        return batch.x, state

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return output.mean()

    def predict_series(self, batch: Batch) -> tuple[Tensor, Any]:
        x = batch.x[0]
        return torch.cat([torch.full((1, 1), torch.nan), x[:-1, :1]]).double(), x[-1, :1].tolist()

    def step(self, inputs: EncodedReading, state: Any) -> tuple[Any, Any]:
        return state, torch.tensor(inputs.inputs[:1]).tolist()


def series(rows: int, seed: int = 0, name: str | None = None) -> Series:
    numbers = np.cumsum(np.random.default_rng(seed).normal(size=(rows, 1)), 0)
    times = [100 * seed + at for at in range(rows)]
    return Series(name, times, ("load",), numbers, (), np.empty((rows, 0), dtype=object), None)


def whole(codec: AnomalyCodec, *records: Series) -> list[Batch]:
    return [codec.features.encode_series(one, ahead=True) for one in records]


def learnt(*records: Series, dynamic: bool = False) -> tuple[AnomalyCodec, DetectorStream]:
    codec = AnomalyCodec((), 1000, None, dynamic).fit(list(records))
    stream = DetectorStream(codec, Last())
    stream.fit(records, whole(codec, *records), **HOW)
    return codec, stream


def fed(stream: DetectorStream, one: Series) -> list[tuple[float, bool]]:
    assert one.times is not None
    readings = zip(one.numbers.tolist(), one.times, strict=True)
    return [stream.update(Reading(number, [], one.name, time)) for number, time in readings]


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_stream_equals_the_series_and_continues_from_its_saved_state(dynamic: bool) -> None:
    codec, _ = learnt(series(400, 0, "a"), series(300, 1, "b"), dynamic=dynamic)
    again = AnomalyCodec((), 1000, None, dynamic).restore(codec.state())
    new = series(200, 2, "c")
    new.numbers[150] += 50.0
    (batch,) = whole(again, new)
    frame = again.present(again.decode([Last().predict(batch)], [new]))
    assert frame.columns == ["id", "time", "score", "alarm", "cause"] and frame["score"][150] > 2.0
    stream, after = DetectorStream(again, Last()), DetectorStream(again, Last())
    found = fed(stream, new.cut(0, 90))
    after.restore(stream.state())
    found += fed(after, new.cut(90, 200))
    assert np.allclose([score for score, _ in found], frame["score"].to_numpy(), atol=1e-5)
    if not dynamic:
        assert [alarm for _, alarm in found] == frame["alarm"].to_list() and frame["cause"][150] == "load"


def test_the_stream_of_a_single_series_continues_after_training() -> None:
    _, stream = learnt(series(400))
    assert stream.series[None].time == 399 and stream.series[None].scorer.trackers[0].fresh == 399
    with pytest.raises(ValueError, match="not before the last"):
        fed(stream, series(1))
    _, stream = learnt(series(400, 0, "a"), series(300, 1, "b"))
    assert stream.series["a"].scorer.trackers[0].fresh == 0, (
        "usual in all of them, and no course of errors yet"
    )


def test_the_window_of_training_is_found() -> None:
    assert learnt(series(90))[0].sizes["context"] == 30 and learnt(series(900))[0].sizes["context"] == 100
    assert AnomalyCodec((), 1000, 7).fit([series(90)]).sizes == {
        "inputs": 3,
        "numbers": 1,
        "categories": [],
        "context": 7,
    }
