"""Generates a small data set for each task, with the score to beat and the comparison of its answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Toy:
    """What the contract needs of a task.

    options: the constructor's, small enough for a fit of a second; source and y: to learn from; test and
    test_y: others of the same kind, with right answers; singles: sources of one record each that together ask
    what `asked` asks; numbers: what predict gives as an array (rows in order, numbers or text); metric,
    naive and better: evaluate(test)[metric] must be "less" or "more" than naive.
    """

    options: Mapping[str, Any]
    source: Any
    test: Any
    asked: Any
    singles: Sequence[Any]
    numbers: Callable[[Any], np.ndarray]
    metric: str
    naive: float
    better: str = "less"
    y: Any = None
    test_y: Any = None
    other: Mapping[str, Any] = field(default_factory=dict)  # an option that changes the answer


TOYS: dict[str, Callable[[], Toy]] = {}


def _waves(rows: int, begin: int, count: int) -> pl.DataFrame:
    """Long: series of one hourly shape, each at its own height, with noise."""
    random = np.random.default_rng(begin)
    steps = np.arange(begin, begin + rows)
    parts = []
    for place in range(count):
        wave = np.sin(2 * np.pi * steps / 12 + place) + 0.5 * np.sin(2 * np.pi * steps / 5)
        values = 10.0 * place + wave + 0.05 * random.standard_normal(rows)
        time = np.datetime64("2024-01-01", "us") + steps * np.timedelta64(1, "h")
        parts.append(pl.DataFrame({"name": [f"s{place}"] * rows, "time": time, "y": values}))
    return pl.concat(parts)


def forecast() -> Toy:
    """Two waves that repeating the last season foretells badly, since two periods are in them."""
    data = _waves(400, 0, 2)
    later = _waves(160, 400, 2)
    alone = [later.filter(pl.col("name") == name) for name in ("s0", "s1")]
    return Toy(
        options={
            "horizon": 6,
            "id": "name",
            "target": "y",
            "hidden_size": 8,
            "context_length": 24,
            "epochs": 2,
            "calendar": False,
        },
        source=data,
        test=later,
        asked=later,
        singles=alone,
        numbers=lambda found: found.drop("name", "time", "target").to_numpy(),
        metric="mase",
        naive=0.7,
    )


TOYS["forecast"] = forecast


def classify() -> Toy:
    """Sentences whose class turns on the order of their words, and one without a word."""
    draw = np.random.default_rng(0)
    fillers = ["the", "film", "was", "a", "plot", "with", "actors"]

    def sentence() -> tuple[str, str]:
        words = [str(word) for word in draw.choice(fillers, draw.integers(1, 6))]
        label, pair = (("bad", ["not", "fine"]), ("good", ["fine", "not"]))[int(draw.integers(2))]
        place = int(draw.integers(len(words) + 1))
        return " ".join([*words[:place], *pair, *words[place:]]), label

    texts, labels = zip(*(sentence() for _ in range(560)), strict=True)
    asked = ["", *texts[520:530], "unheard-of"]
    return Toy(
        options={
            "hidden_size": 8,
            "embedding_size": 8,
            "subword_buckets": 50,
            "ensemble_size": 2,
            "epochs": 4,
            "learning_rate": 0.01,
        },
        source=list(texts[:520]),
        y=list(labels[:520]),
        test=list(texts[520:]),
        test_y=list(labels[520:]),
        asked=asked,
        singles=[[text] for text in asked],
        numbers=np.asarray,
        metric="accuracy",
        naive=0.8,
        better="more",
    )


TOYS["classify"] = classify


def language() -> Toy:
    """Sentences of a grammar, whose words depend on words further back than an n-gram sees."""
    draw = np.random.default_rng(0)
    endings = {"she": "herself", "he": "himself", "they": "themselves"}

    def sentence() -> str:
        who = str(draw.choice(list(endings)))
        verb = str(draw.choice(["saw", "told", "heard", "asked"]))
        often = str(draw.choice(["once again", "now and then", "on and off"]))
        return f"{who} {verb}, {often}, {endings[who]}."

    texts = [sentence() for _ in range(420)]
    asked = ["", *texts[400:408], "Zebras!"]
    return Toy(
        options={"hidden_size": 24, "embedding_size": 8, "epochs": 4, "batch_size": 8, "chunk_length": 40},
        source=texts[:400],
        test=texts[400:],
        asked=asked,
        singles=[[text] for text in asked],
        numbers=lambda found: found.select("tokens", "log_prob").to_numpy(),
        metric="nats_per_token",
        naive=1.5,
    )


TOYS["language"] = language


def _machines(rows: int, start: int) -> pl.DataFrame:
    """Two machines with a rhythm, a mode that follows it, and stretches in which one of them stands still."""
    parts = []
    for place in range(2):
        time = np.arange(start, start + rows)
        draw = np.random.default_rng([start, place])
        load = np.sin(time / (4.0 + place)) + 0.05 * draw.normal(size=rows)
        flag = np.zeros(rows, dtype=int)
        for begin in range(150, rows - 40, 160):
            load[begin : begin + 20], flag[begin : begin + 20] = 1.6, 1
        mode = np.where(np.sin(time / (4.0 + place)) > 0, "up", "down")
        parts.append(
            pl.DataFrame({"unit": f"m{place}", "time": time, "load": load, "mode": mode, "known": flag})
        )
    return pl.concat(parts)


def anomaly() -> Toy:
    """Machines that stand still now and then; always raising the alarm finds all and is hardly ever right."""
    later = _machines(400, 1000)
    return Toy(
        options={
            "id": "unit",
            "label": "known",
            "hidden_size": 8,
            "context_length": 20,
            "epochs": 3,
            "min_gap": 20,
        },
        source=_machines(400, 0),
        test=later,
        asked=later,
        singles=[later.filter(pl.col("unit") == name) for name in ("m0", "m1")],
        numbers=lambda found: found.select("score", "alarm").cast(pl.Float64).to_numpy(),
        metric="f1",
        naive=0.5,
        better="more",
    )


TOYS["anomaly"] = anomaly


def _counted(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Words to be written in another language and in the reverse order."""
    draw = np.random.default_rng(seed)
    there = {"one": "uno", "two": "due", "three": "tre", "four": "quattro", "five": "cinque"}
    rows = [[str(word) for word in draw.choice(list(there), draw.integers(3, 6))] for _ in range(count)]
    return [" ".join(row) for row in rows], [" ".join(there[word] for word in row[::-1]) for row in rows]


def translate() -> Toy:
    """Reversed words; copying the source gives none of them."""
    sources, targets = _counted(320, 0)
    test, test_y = _counted(24, 1)
    asked = ["", *test[:6], " ".join(["one", "two"] * 5), "one seven ßix"]
    return Toy(
        options={
            "hidden_size": 32,
            "embedding_size": 16,
            "epochs": 10,
            "learning_rate": 0.01,
            "batch_size": 8,
            "dropout": 0.0,
            "beam_size": 3,
        },
        source=sources,
        y=targets,
        test=test,
        test_y=test_y,
        asked=asked,
        singles=[[text] for text in asked],
        numbers=np.asarray,
        metric="edit_distance",
        naive=0.5,
    )


TOYS["translate"] = translate


def _news(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Who did what somewhere; the summary is who and where. Names are new in every text."""
    draw = np.random.default_rng(seed)
    letters = list("abdeiklmnorstu")
    texts, summaries = [], []
    for _ in range(count):
        name, place = ("".join(draw.choice(letters, 5)).title() for _ in range(2))
        fillers = [str(word) for word in draw.choice(["today", "again", "slowly", "with joy"], 2)]
        texts.append(f"It was said {fillers[0]} . So {name} went {fillers[1]} to {place} .")
        summaries.append(f"{name} in {place}")
    return texts, summaries


def summarize() -> Toy:
    """Names to be copied; the first sentence has none of them."""
    texts, summaries = _news(320, 0)
    test, test_y = _news(16, 1)
    asked = ["", *test[:5], f"So {'very ' * 40}Ottokar went to Bern ."]
    return Toy(
        options={
            "hidden_size": 24,
            "embedding_size": 16,
            "epochs": 8,
            "learning_rate": 0.01,
            "batch_size": 16,
            "dropout": 0.0,
            "beam_size": 3,
        },
        source=texts,
        y=summaries,
        test=test,
        test_y=test_y,
        asked=asked,
        singles=[[text] for text in asked],
        numbers=np.asarray,
        metric="rouge1",
        naive=70.0,
        better="more",
    )


TOYS["summarize"] = summarize


def _visits(users: int, seed: int, first: int = 0) -> pl.DataFrame:
    """Users who walk through a shop: the next item depends on the last two, and some steps are random."""
    draw = np.random.default_rng(seed)
    rows: list[tuple[int, int, int]] = []
    for user in range(first, first + users):
        items = [int(item) for item in draw.integers(0, 20, 2)]
        for _ in range(int(draw.integers(5, 12))):
            follows = (3 * items[-1] + 7 * items[-2] + 1) % 20
            items.append(follows if draw.random() < 0.9 else int(draw.integers(0, 20)))
        rows += [(user, item, step) for step, item in enumerate(items)]
    order = draw.permutation(len(rows))
    columns = zip(*(rows[row] for row in order), strict=True)
    return pl.DataFrame(dict(zip(("user", "item", "time"), columns, strict=True)))


def recommend() -> Toy:
    """Walks in which the last item alone says little; the item kNN finds few of the next items."""
    later = _visits(60, 1, 1000)
    asked = pl.concat([later.filter(pl.col("user") == user) for user in (1000, 1001, 1002)])
    asked = pl.concat([asked, pl.DataFrame({"user": [5], "item": [7], "time": [100]})])
    return Toy(
        options={
            "hidden_size": 32,
            "embedding_size": 16,
            "epochs": 10,
            "batch_size": 16,
            "learning_rate": 0.02,
            "dropout": 0.0,
            "embedding_dropout": 0.0,
            "k": 5,
            "exclude_seen": False,
        },
        source=_visits(300, 0),
        test=later,
        asked=asked,
        singles=[asked.filter(pl.col("user") == user) for user in (1000, 1001, 1002, 5)],
        numbers=lambda found: found.to_numpy(),
        metric="mrr@10",
        naive=0.28,
        better="more",
    )


TOYS["recommend"] = recommend


def _melodies(count: int, seed: int) -> tuple[list[tuple[np.ndarray, int]], list[str]]:
    """Sounds of one to three tones with pauses between, each with its rate, and the names of the tones."""
    draw = np.random.default_rng(seed)
    steps = {"low": 0.15, "mid": 0.4, "high": 0.9}
    sounds, texts = [], []
    for _ in range(count):
        names = [str(name) for name in draw.choice(list(steps), draw.integers(1, 4))]
        tones = [0.3 * np.sin(np.arange(draw.integers(700, 1100)) * steps[name]) for name in names]
        sound = np.concatenate([np.concatenate([tone, np.zeros(300)]) for tone in tones])
        sounds.append(((sound + 0.01 * draw.standard_normal(len(sound))).astype(np.float32), 8000))
        texts.append(" ".join(names))
    return sounds, texts


def speech() -> Toy:
    """Tones to be named in their order; the likeliest of three names is wrong more often than not."""
    sounds, texts = _melodies(120, 0)
    test, test_y = _melodies(16, 1)
    short = np.zeros(150, np.float32)  # less than one frame
    asked = [*test[:6], (np.tile(test[0][0], 5), 8000), (np.repeat(test[1][0], 2), 16000), (short, 8000)]
    return Toy(
        options={
            "hidden_size": 16,
            "filters": 16,
            "mel_bins": 16,
            "num_layers": 1,
            "epochs": 6,
            "batch_size": 8,
            "learning_rate": 0.02,
            "frequency_masks": 1,
            "time_masks": 1,
            "speed_perturbation": (),
            "dropout": 0.0,
        },
        source=sounds,
        y=texts,
        test=test,
        test_y=test_y,
        asked=asked,
        singles=[[sound] for sound in asked],
        numbers=np.asarray,
        metric="wer",
        naive=0.6,
    )


TOYS["speech"] = speech


def _moving_squares(count: int, seed: int) -> tuple[list[np.ndarray], list[str]]:
    """Clips of 4 to 7 frames of a square that moves left or right; no frame alone tells which way."""
    draw = np.random.default_rng(seed)
    clips, labels = [], []
    for _ in range(count):
        frames, left = int(draw.integers(4, 8)), bool(draw.integers(2))
        clip = draw.integers(0, 30, (frames, 12, 12)).astype(np.uint8)
        row, first = int(draw.integers(9)), int(draw.integers(2))
        for step in range(frames):
            column = first + step if not left else 8 - first - step
            clip[step, row : row + 3, max(0, column) : column + 3] = 220
        clips.append(clip)
        labels.append("left" if left else "right")
    return clips, labels


def video() -> Toy:
    """Squares that move to one of two sides; one clip has a single frame, one is larger, one has colours."""
    clips, labels = _moving_squares(80, 0)
    test, test_y = _moving_squares(30, 1)
    larger = test[1].repeat(2, axis=1).repeat(2, axis=2)
    asked = [*test[:6], test[0][:1], larger, np.stack([test[2]] * 3, -1)]
    return Toy(
        options={
            "hidden_size": 12,
            "filters": (8,),
            "feature_size": 16,
            "epochs": 8,
            "batch_size": 8,
            "learning_rate": 0.01,
            "dropout": 0.0,
            "shift": 0.0,
            "refit": False,
        },
        source=clips,
        y=labels,
        test=test,
        test_y=test_y,
        asked=asked,
        singles=[[clip] for clip in asked],
        numbers=np.asarray,
        metric="top1",
        naive=0.8,
        better="more",
    )


TOYS["video"] = video


def _squares(count: int, seed: int) -> tuple[np.ndarray, list[list[str]]]:
    """Pictures of a square in one of two colours, above or below, with two sentences about each."""
    draw = np.random.default_rng(seed)
    pictures = draw.integers(0, 30, (count, 16, 16, 3)).astype(np.uint8)
    captions = []
    for picture in pictures:
        color, low = int(draw.integers(2)), bool(draw.integers(2))
        top = 9 if low else 1
        picture[top : top + 6, 4:12, 2 * color] = 230
        words = ["red", "blue"][color], "below" if low else "above"
        captions.append([f"a {words[0]} square {words[1]}", f"the square {words[1]} is {words[0]}"])
    return pictures, captions


def caption() -> Toy:
    """Squares to be described; one sentence for all is right for a quarter of them."""
    pictures, captions = _squares(120, 0)
    test, test_y = _squares(16, 1)
    asked = [*test[:5], test[5][:9], np.zeros((30, 20), np.uint8)]
    return Toy(
        options={
            "hidden_size": 24,
            "embedding_size": 12,
            "filters": (8, 16),
            "image_size": (16, 16),
            "epochs": 8,
            "batch_size": 8,
            "learning_rate": 0.01,
            "dropout": 0.1,
            "samples": 8,
        },
        source=pictures,
        y=captions,
        test=test,
        test_y=test_y,
        asked=asked,
        singles=[[picture] for picture in asked],
        numbers=np.asarray,
        metric="cider",
        naive=2.5,
        better="more",
    )


TOYS["caption"] = caption
