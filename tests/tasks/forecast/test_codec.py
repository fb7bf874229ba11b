"""The forecaster's codec: windows become batches without copies, and outputs become values again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from longspan.tasks.forecast import windows
from longspan.tasks.forecast.batches import Windows
from longspan.tasks.forecast.codec import ForecastCodec
from longspan.tasks.forecast.panel import Columns, Origins
from longspan.tasks.forecast.reading import read_panel
from longspan.tasks.forecast.window_scaling import CENTERS, SCALES, WindowConfig

LEVELS = (0.1, 0.5, 0.9)


def records(values: Any, horizon: int = 3) -> Origins:
    panel = read_panel(values, Columns())
    return Origins(panel, windows.every_origin(panel, 1, horizon))


def fitted(origins: Origins, **settings: Any) -> ForecastCodec:
    codec = ForecastCodec(3, LEVELS, season=5).fit(origins)
    config = {"context": 8, "center": "last", "scaling": "series", "transform": "none", **settings}
    codec.encoder.configure(WindowConfig(**config), origins)
    return codec


@pytest.mark.parametrize("transform", ["none", "log", "sqrt"])
@pytest.mark.parametrize("scaling", SCALES)
@pytest.mark.parametrize("center", CENTERS)
def test_decoding_the_target_gives_the_truth(center: str, scaling: str, transform: str) -> None:
    series = 5 + np.sin(np.arange(60.0) / 3) + np.arange(60) / 20
    series[10] = np.nan
    origins = records(np.stack([series, 3 * series[::-1]], 1))
    codec = fitted(origins, center=center, scaling=scaling, transform=transform)
    coded = []
    for batch in Windows(codec.encoder, origins, 7, shuffle=False, most=1):
        middle, scale = batch.x.center, batch.x.scale
        answer = (batch.y.double() * scale + middle).unsqueeze(-1) + torch.tensor([-1.0, 0.0, 1.0])
        coded.append((answer, scale[:, 0], scale[:, 0]))
    found = codec.decode(coded, origins)
    assert found.point.shape == (len(origins.rows), 3, 2)
    np.testing.assert_allclose(found.point, codec.truth(origins), rtol=1e-5)
    assert np.array_equal(found.actual, codec.truth(origins), equal_nan=True)


def test_windows_are_gathered_batch_by_batch() -> None:
    origins = records(np.random.default_rng(0).standard_normal(50_000))
    codec = fitted(origins, context=100)
    batches = Windows(codec.encoder, origins, 128, shuffle=True, most=20_000)
    assert len(batches) == -(-20_000 // 128)
    assert sum(part.nbytes for part in next(iter(batches)).x) < 128 * 130 * 8 * 4


def test_an_epoch_has_every_window_once_up_to_its_limit() -> None:
    origins = records(np.arange(40.0))
    codec = fitted(origins, center="none")
    last = sorted(
        float(v)
        for b in Windows(codec.encoder, origins, 8, shuffle=True, most=99)
        for v in b.x.values[:, -1, 0]
    )
    assert len(set(last)) == len(last) == len(origins.rows)
    assert sum(len(b.y) for b in Windows(codec.encoder, origins, 8, shuffle=True, most=20)) == 20
    count = len(origins.rows)
    more = Windows(codec.encoder, origins, 8, shuffle=True, most=999, least=2 * count + 5)
    seen = np.concatenate([b.x.values[:, -1, 0].numpy() for b in more])
    assert len(seen) == 2 * count + 5 and set(np.unique(seen, return_counts=True)[1]) == {2, 3}
    assert Windows(codec.encoder, origins, 8, shuffle=True, most=999, least=9_999).most == 8 * count


def frame(rows: int, name: str = "a") -> pl.DataFrame:
    draw = np.random.default_rng(rows)
    times = [datetime(2024, 1, 1) + timedelta(hours=at) for at in range(rows)]
    word = np.where(draw.integers(0, 2, rows) == 1, "up", "down")
    return pl.DataFrame(
        {"name": name, "time": times, "y": draw.normal(size=rows), "word": word, "kind": name}
    )


def worded() -> tuple[ForecastCodec, Origins]:
    columns = Columns(("y",), ("time",), "name", future=("word",), static=("kind",))
    panel = read_panel(pl.concat([frame(200), frame(180, "b")]), columns)
    origins = Origins(panel, windows.every_origin(panel, 1, 3))
    return fitted(origins), origins


def test_sizes_are_those_of_the_batches() -> None:
    encoder, origins = worded()[0].encoder, worded()[1]
    statistics = encoder.statistics.of_panel(origins.panel)
    batch = encoder.encode(origins.panel, windows.window_index(origins), statistics, with_targets=True)
    sizes, (values, past, ahead, static, *_) = encoder.sizes, batch.x
    assert values.shape[1:] == (8, sizes["values"]) and past.shape[2] == sizes["past"] == 0
    assert ahead.shape[1:] == (11, sizes["ahead"]) and static.shape[1] == sizes["static"] == 0
    assert sizes["ahead"] == 2 * len(encoder.calendar_features) == 2 and sizes["ahead_words"] == [3]
    assert batch.x.future_words.max() == 2 and batch.x.static_words.unique().tolist() == [1, 2]
    assert batch.mask is not None and not batch.mask[0, 0] and batch.mask[-1].all()


def test_the_saved_state_restores_the_codec() -> None:
    codec, origins = worded()
    codec.validation_scores = {"model": 1.0}
    state: Mapping[str, Any] = codec.state()
    again, index = ForecastCodec(3, LEVELS).restore(state), windows.window_index(origins)
    encoded, encoded_again = (
        encoder.encode(origins.panel, index, encoder.statistics.of_panel(origins.panel), with_targets=True).x
        for encoder in (codec.encoder, again.encoder)
    )
    for part, part_again in zip(encoded, encoded_again, strict=True):
        assert torch.equal(part, part_again)
    assert again.encoder.last_steps == codec.encoder.last_steps
    assert again.encoder.config == codec.encoder.config
    assert again.validation_scores == {"model": 1.0} and again.conformal is None


def test_an_unknown_series_is_scaled_by_its_own_values() -> None:
    codec, _ = worded()
    template, statistics = codec.encoder.template, codec.encoder.statistics
    new = read_panel(frame(50, "c").with_columns(y=pl.lit(7.0)), template.columns, template=template)
    assert statistics.of_panel(new).mean.tolist() == [[7.0]] and np.isnan(codec.mase_scales(new)).all()
    assert statistics.of_name("c").mean[0, 0] == pytest.approx(statistics.table.mean.mean())
    assert statistics.of_name("b").mean[0, 0] == statistics.table.mean[1, 0]


def test_naive_errors_are_known_from_the_second_season_on() -> None:
    origins = records(np.tile([1.0, 5.0, 2.0, 8.0], 10))
    found = fitted(origins).encoder.naive_errors(origins, 4)
    early = origins.rows < 4
    assert early.any() and np.isnan(found[early]).all()
    assert (found[~early] == 0).all(), "they had the errors of repeating the first value"


def test_calibration_learns_from_the_held_out_part_alone() -> None:
    origins = records(np.random.default_rng(0).standard_normal(300))
    codec = fitted(origins)
    held = Origins(origins.panel, origins.rows[200:])
    zero = torch.zeros(len(held.rows), 3, 3, dtype=torch.float64)
    one = torch.ones(len(held.rows), dtype=torch.float64)
    codec.calibrate([(zero, one, one)], held)
    found = codec.decode([(zero, one, one)], held)
    share = np.mean((found.actual >= found.quantiles[..., 0]) & (found.actual <= found.quantiles[..., 2]))
    assert share == pytest.approx(0.8, abs=0.06)
    assert codec.validation_start == {"": 201} and codec.recent_origins(held).max() >= 201
    assert set(codec.recent_origins(held)[codec.recent_origins(held) < 201]) <= {-1}
    assert codec.validation_scores["model"] == pytest.approx(np.abs(found.actual).mean())
    assert 0.6 < codec.validation_scores["coverage_80"] < 1.0
