"""Runs Keras' own test files over longspan: `python -m tests.peers CHECKOUT [folder or file ...]`.

The files are not copied into the project: a temporary folder takes them, with their imports changed. Prints
how many of the applicable tests pass, by folder or file; `not_applicable.txt` says what does not apply, and
`failing.txt` what fails so far and why.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from . import names

LAYERS = (
    "activations", "attention", "convolutional", "core", "merging", "normalization", "pooling",
    "regularization", "reshaping", "rnn",
)  # fmt: skip
PREPROCESSING = (
    "category_encoding", "discretization", "hashed_crossing", "hashing", "integer_lookup", "normalization",
    "rescaling", "string_lookup", "text_vectorization",
)  # fmt: skip
FOLDERS = (
    "activations", "callbacks", "constraints", "initializers", "losses", "metrics", "models", "optimizers",
    "regularizers", "trainers", "utils", "layers/layer_test.py", *(f"layers/{folder}" for folder in LAYERS),
    *(f"layers/preprocessing/{layer}_test.py" for layer in PREPROCESSING),
)  # fmt: skip
HERE = Path(__file__).parent
SECONDS = 60  # a test that takes longer fails
_SETTINGS = """[pytest]
filterwarnings = ignore
markers =
    requires_trainable_backend: of Keras
    multi_device: of Keras
"""


def read_reasons(path: Path) -> dict[str, str]:
    """Pattern of a test's id -> reason: a line is a reason, the indented lines below it are patterns."""
    reasons, reason = {}, ""
    for line in path.read_text().splitlines():
        if line.startswith(" "):
            reasons[line.strip()] = reason
        elif line.strip() and not line.startswith("#"):
            reason = line.strip()
    return reasons


def reason_for(test: str, reasons: dict[str, str]) -> str | None:
    """The reason of the first pattern that matches a test's id, None without one."""
    return next((reason for pattern, reason in reasons.items() if fnmatchcase(test, pattern)), None)


class Recorder:
    """A plugin of pytest that leaves out what does not apply and keeps the outcome of every other test."""

    def __init__(self, root: Path, reasons: dict[str, str]) -> None:
        self._root, self._reasons = root, reasons
        self.outcomes: dict[str, str] = {}  # test -> "passed", "skipped" or the error's last line
        self.left_out: Counter[str] = Counter()  # reason -> number of tests

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        kept = []
        for item in items:
            reason = reason_for(self._name(item.nodeid), self._reasons)
            if reason is None:
                kept.append(item)
            else:
                self.left_out[reason] += 1
        items[:] = kept

    def pytest_collection_finish(self) -> None:
        names.end_collection()

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.outcomes[self._name(report.nodeid)] = f"collection: {_last_line(report)}"

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        signal.signal(signal.SIGALRM, _too_long)
        signal.alarm(SECONDS)
        yield
        signal.alarm(0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        test = self._name(report.nodeid)
        if report.failed:
            self.outcomes[test] = f"{report.when}: {_last_line(report)}"
        elif report.when == "call" or report.skipped:
            self.outcomes.setdefault(test, report.outcome)

    def _name(self, nodeid: str) -> str:
        return nodeid.removeprefix(f"{self._root.name}/")


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"longer than {SECONDS} seconds")


def _last_line(report: Any) -> str:
    lines = [line[2:].strip() for line in str(report.longrepr).splitlines() if line.startswith("E ")]
    return next((line for line in lines if line), str(report.longrepr).splitlines()[-1])[:300]


def prepare(source: Path, target: Path) -> None:
    """Write the test files below `source` into `target`, with their imports changed."""
    for part in FOLDERS:
        place = source / part
        for file in [place] if place.is_file() else place.rglob("*_test.py"):
            copy = target / file.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(names.rewrite(file.read_text()))
    (target / "pytest.ini").write_text(_SETTINGS)


def table(outcomes: dict[str, str], *, by_file: bool) -> str:
    """Applicable tests, passed ones and the share, by file or by folder."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for test, outcome in outcomes.items():
        if outcome != "skipped":
            file = test.partition("::")[0]
            depth = 2 if file.startswith("layers/") else 1
            for row in (file if by_file else "/".join(file.split("/")[:depth]), "all"):
                counts[row][0] += 1
                counts[row][1] += outcome == "passed"
    width = max(map(len, counts), default=0)
    rows = [
        f"{row:{width}} {n:6} {p:6} {p / n:6.1%}" for row, (n, p) in sorted(counts.items()) if row != "all"
    ]
    rows += [f"{'all':{width}} {n:6} {p:6} {p / n:6.1%}" for n, p in [counts["all"]] if n]
    return "\n".join([f"{'':{width}} {'apply':>6} {'pass':>6} {'share':>6}", *rows])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="folder of Keras' source, of release 3.15")
    parser.add_argument("parts", nargs="*", help="folders or files below keras/src, such as layers/rnn")
    parser.add_argument(
        "--threshold", type=float, default=0.95, help="share that must pass, for the exit code"
    )
    parser.add_argument("--json", type=Path, help="write every outcome to this file")
    parser.add_argument("--by-file", action="store_true", help="a row for every test file")
    parser.add_argument("-k", default="", help="run tests whose names match, as in pytest")
    options = parser.parse_args(arguments)
    source = options.checkout / "keras" / "src"
    if not source.is_dir():
        parser.error(f"{options.checkout} is no checkout of Keras: it has no folder keras/src")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        prepare(source, root)
        names.install(root, source)
        recorder = Recorder(root, read_reasons(HERE / "not_applicable.txt"))
        paths = [str(root / part) for part in options.parts or FOLDERS]
        settings = ["-c", f"{root}/pytest.ini", "--rootdir", str(root), "--import-mode=importlib", "-n0"]
        output = [
            "-q",
            "--tb=short",
            "--no-header",
            "-p",
            "no:cacheprovider",
            "--continue-on-collection-errors",
        ]
        pytest.main([*output, *settings, "-k", options.k, *paths], plugins=[recorder])
    return report(recorder, options)


def report(recorder: Recorder, options: argparse.Namespace) -> int:
    """Print the table and what was left out; the exit code."""
    outcomes = recorder.outcomes
    if options.json:
        options.json.write_text(json.dumps(outcomes, indent=0))
    for reason, count in sorted(recorder.left_out.items(), key=lambda item: -item[1]):
        print(f"{count:5} left out: {reason}")
    skipped = sum(outcome == "skipped" for outcome in outcomes.values())
    print(f"{skipped:5} skipped by Keras itself on PyTorch")
    print(table(outcomes, by_file=options.by_file))
    listed = set(read_reasons(HERE / "failing.txt"))
    failed = {test for test, outcome in outcomes.items() if outcome not in ("passed", "skipped")}
    for title, tests in (
        ("fails and is not listed", failed - listed),
        ("passes now", listed & set(outcomes) - failed),
    ):
        print("\n".join(f"{title}: {test}" for test in sorted(tests)))
    ran = [outcome for outcome in outcomes.values() if outcome != "skipped"]
    return int(not ran or sum(outcome == "passed" for outcome in ran) / len(ran) < options.threshold)


if __name__ == "__main__":
    sys.exit(main())
