"""Reads and generates unlike sets with anomalies: sensors, connections, telemetry, server loads, logins."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl


class AnomalySet(NamedTuple):
    """A training frame of normal readings, a test frame with the same columns, and flags (T,) of the latter.

    id, time: columns of the entity and of times, None where there is none.
    """

    name: str
    train: pl.DataFrame
    test: pl.DataFrame
    flags: np.ndarray
    id: str | None = None
    time: str | None = None


TRAIN_ROWS = 400  # rows of a file of SKAB that are trained on


def skab(folder: Path) -> list[AnomalySet]:
    """The files of SKAB's valve 1, eight sensors of a pump: the first rows of each train, the rest test."""
    sets = []
    with zipfile.ZipFile(folder / "valve1.zip") as archive:
        for name in sorted(archive.namelist(), key=lambda name: int(Path(name).stem)):
            frame = pl.read_csv(io.BytesIO(archive.read(name)), separator=";")
            flags = frame["anomaly"].to_numpy()[TRAIN_ROWS:] == 1.0
            readings = frame.drop("anomaly", "changepoint")
            parts = readings[:TRAIN_ROWS], readings[TRAIN_ROWS:]
            sets.append(AnomalySet(f"skab {Path(name).stem}", *parts, flags, time="datetime"))
    return sets


def nsl_kdd(folder: Path, seed: int = 0) -> AnomalySet:
    """Connections: 80 % of the normal ones train; the others and all attacks test, in random order."""
    with (folder / "Field_Names.csv").open() as file:
        names = [row[0] for row in csv.reader(file)]
    with gzip.open(folder / "KDDTrain+_20Percent.txt.gz") as file:
        columns = [*names, "label", "difficulty"]
        frame = pl.read_csv(file.read(), has_header=False, new_columns=columns)
    attack = (frame["label"] != "normal").to_numpy()
    draw = np.random.default_rng(seed)
    normal = draw.permutation(np.flatnonzero(~attack))
    held_out = len(normal) // 5
    test = draw.permutation(np.concatenate([normal[:held_out], np.flatnonzero(attack)]))
    frame = frame.drop("label", "difficulty")
    return AnomalySet("NSL-KDD", frame[np.sort(normal[held_out:])], frame[test], attack[test])


# ---- generated


def _frame(values: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({f"x{column}": values[:, column] for column in range(values.shape[1])})


def server_load(seed: int) -> AnomalySet:
    """Three loads with a daily round; later spikes, a missing peak and a flat night."""
    draw, steps = np.random.default_rng(seed), np.arange(3000)
    daily = np.maximum(0.0, np.sin(2 * np.pi * steps / 144 + draw.uniform(0, 6)))
    values = np.stack([daily * scale + 0.08 * draw.normal(size=3000) for scale in (1.0, 2.0, 0.5)], 1)
    flags = np.zeros(3000, dtype=bool)
    for start in draw.permutation(np.arange(1650, 2900, 150))[:4]:
        length, column = int(draw.integers(5, 40)), int(draw.integers(3))
        rows = slice(start, start + length)
        values[rows, column] = draw.choice([values[start, column], 2.6, -0.8])
        flags[rows] = True
    return AnomalySet(f"server {seed}", _frame(values[:1500]), _frame(values[1500:]), flags[1500:])


def pump(seed: int) -> AnomalySet:
    """Eight correlated sensors; later one long fault: a shift, noise, a freeze, swapped or all channels."""
    draw, rows, channels, train = np.random.default_rng(seed), 1150, 8, 400
    latent = np.zeros((rows, 3))
    memory = draw.uniform(0.8, 0.995, 3)
    for row in range(1, rows):
        latent[row] = memory * latent[row - 1] + np.sqrt(1 - memory**2) * draw.normal(size=3)
    mixing = draw.normal(size=(3, channels)) * (draw.random((3, channels)) < 0.6)
    values = latent @ mixing + draw.uniform(0.2, 1.5, channels) * draw.normal(size=(rows, channels))
    values[:, draw.integers(channels)] += draw.uniform(0.0, 1.0) * np.linspace(0.0, 2.0, rows)
    start = int(draw.integers(train + 60, train + 350))
    end = min(rows, start + int(draw.integers(200, 400)))
    columns = draw.permutation(channels)[: int(draw.integers(1, 4))]
    spread, ramp = (
        values[:train].std(0),
        np.minimum(1.0, np.arange(end - start) / draw.integers(1, 60))[:, None],
    )
    signs, fault = draw.choice([-1.0, 1.0], channels), int(draw.integers(5))
    part = values[start:end]
    if fault == 0:
        part[:, columns] += ramp * (spread * signs * draw.uniform(1, 3, channels))[columns]
    elif fault == 1:
        part[:, columns] += ramp * draw.normal(size=(end - start, len(columns))) * 2.2 * spread[columns]
    elif fault == 2:
        part[:, columns] = part[0, columns]
    elif fault == 3:
        part[:, columns] = values[draw.integers(0, train, end - start)][:, columns]
    else:
        part += ramp * spread * signs * draw.uniform(0.3, 1.0, channels)
    flags = np.zeros(rows, dtype=bool)
    flags[start:end] = True
    values = values * draw.uniform(0.1, 100, channels) + 50 * draw.normal(size=channels)
    return AnomalySet(f"pump {seed}", _frame(values[:train]), _frame(values[train:]), flags[train:])


def connections(seed: int) -> AnomalySet:
    """Records of heavy-tailed numbers and categories that depend on a hidden class; mixed-up ones later."""
    draw = np.random.default_rng(seed)
    classes, numbers, words = int(draw.integers(2, 6)), int(draw.integers(4, 12)), int(draw.integers(1, 4))
    weights, centers = draw.dirichlet(np.full(classes, 2.0)), 2 * draw.normal(size=(classes, numbers))
    spreads, form = draw.uniform(0.2, 1.0, (classes, numbers)), draw.integers(0, 3, numbers)
    sizes = draw.integers(3, 15, words)
    shares = [draw.dirichlet(np.full(size, 0.3), size=classes) for size in sizes]

    def sample(rows: int) -> tuple[np.ndarray, np.ndarray]:
        hidden = draw.choice(classes, rows, p=weights)
        codes = np.stack([[draw.choice(len(p[k]), p=p[k]) for k in hidden] for p in shares], 1)
        return centers[hidden] + spreads[hidden] * draw.normal(size=(rows, numbers)), codes

    def table(values: np.ndarray, codes: np.ndarray) -> pl.DataFrame:
        shaped = np.where(
            form == 1, np.exp(values), np.where(form == 2, np.maximum(0, np.round(values)), values)
        )
        texts = {f"kind{column}": [f"v{code}" for code in codes[:, column]] for column in range(words)}
        return _frame(shaped).with_columns(**{name: pl.Series(text) for name, text in texts.items()})

    normal, other = sample(1500), sample(1500)
    values, codes = sample(300)
    for row in range(300):
        if row % 3 == 0:
            values[row, draw.integers(numbers)] += draw.choice([-1.0, 1.0]) * draw.uniform(3, 6)
        elif row % 3 == 1:
            codes[row, draw.integers(words)] = draw.integers(sizes.max() + 1)
            values[row, draw.integers(numbers)] += 2.0
        else:
            columns = draw.permutation(numbers)[: numbers // 2]
            values[row, columns] = other[0][row, columns]
    test = table(np.concatenate([normal[0], values]), np.concatenate([normal[1], codes]))
    flags = np.arange(1800) >= 1500
    order = draw.permutation(1800)
    return AnomalySet(f"connections {seed}", table(*sample(4000)), test[order], flags[order])


def logins(seed: int) -> AnomalySet:
    """Logins of forty users from places and with devices of their own; later ones as another user does it."""
    draw, users = np.random.default_rng(seed), 40
    places = [draw.permutation(12)[:2] for _ in range(users)]
    devices = [draw.permutation(6)[:2] for _ in range(users)]
    typical = draw.normal(3, 1, users)

    def sample(rows: int, start: float) -> dict[str, np.ndarray]:
        user = draw.integers(0, users, rows)
        pick = (draw.random(rows) < 0.2).astype(int)
        return {
            "time": start + np.cumsum(draw.exponential(30.0, rows)).round(1),
            "user": np.array([f"u{number}" for number in user]),
            "place": np.array([f"p{places[number][at]}" for number, at in zip(user, pick, strict=True)]),
            "device": np.array([f"d{devices[number][at]}" for number, at in zip(user, pick, strict=True)]),
            "bytes": np.exp(typical[user] + 0.4 * draw.normal(size=rows)).round(2),
        }

    train, test = sample(3000, 0.0), sample(1500, 1e6)
    flags = np.zeros(1500, dtype=bool)
    for row in draw.permutation(1500)[:60]:
        other = int(draw.integers(1500))
        for name in draw.permutation(["place", "device", "bytes"])[:2]:
            test[name][row] = test[name][other]
        flags[row] = True
    return AnomalySet(f"logins {seed}", pl.DataFrame(train), pl.DataFrame(test), flags, "user", "time")


def telemetry(seed: int) -> AnomalySet:
    """A channel that answers commands with a delay; later stuck, spiking and unanswered stretches."""
    draw, rows, train = np.random.default_rng(seed), 6000, 2500
    commands = np.zeros((rows, 8))
    for column in range(4):
        starts = np.flatnonzero(draw.random(rows) < 0.004)
        for start in starts:
            commands[start : start + int(draw.integers(5, 40)), column] = 1.0
    answer, value = np.zeros(rows), 0.0
    gains = draw.normal(size=8)
    for row in range(1, rows):
        value += 0.15 * (commands[row - 1] @ gains - value)
        answer[row] = value
    answer += 0.02 * draw.normal(size=rows)
    flags = np.zeros(rows, dtype=bool)
    for start in draw.permutation(np.arange(train + 600, rows - 300, 400))[:4]:
        length, fault = int(draw.integers(40, 150)), int(draw.integers(3))
        change = slice(start, start + length)
        shifted = answer[change] + draw.choice([-1.0, 1.0]) * (1.0 + answer[:train].std())
        noisy = answer[change] + 0.5 * draw.normal(size=length)
        answer[change] = (np.full(length, answer[:train].max() + 0.5), shifted, noisy)[fault]
        flags[change] = True
    values = np.column_stack([answer, commands])
    return AnomalySet(f"telemetry {seed}", _frame(values[:train]), _frame(values[train:]), flags[train:])


def drifting(seed: int) -> AnomalySet:
    """Three random walks; later jumps that stay."""
    draw, rows = np.random.default_rng(seed), 3000
    values = np.cumsum(draw.normal(size=(rows, 3)), 0)
    flags = np.zeros(rows, dtype=bool)
    for start in draw.permutation(np.arange(1650, 2900, 150))[:5]:
        values[start:, draw.integers(3)] += draw.choice([-1.0, 1.0]) * draw.uniform(8, 14)
        flags[start : start + 3] = True
    return AnomalySet(f"drifting {seed}", _frame(values[:1500]), _frame(values[1500:]), flags[1500:])


GENERATED: dict[str, Callable[[int], AnomalySet]] = {
    "server load": server_load,
    "pump sensors": pump,
    "connections": connections,
    "logins": logins,
    "telemetry": telemetry,
    "drifting": drifting,
}
