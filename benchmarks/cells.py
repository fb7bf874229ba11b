"""Benchmarks the cells: parity with torch.nn first, then its tables; none after a failed check.

python -m benchmarks.cells
python -m benchmarks.cells --quick --cells LSTM --sections speed,ragged --json lstm.json
python -m benchmarks.cells --isa avx2
python -m benchmarks.cells --device cuda --table cells-on-this-gpu.md
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from rich.console import Console

import longspan as ls
from longspan import _core

from . import cuda, ragged, speed, streaming, variants
from .measure import TORCH_LIMITS, Options, Size, Table, environment, limits
from .parity import Check, failures
from .processes import Imports, Memory

CELLS = ("RNN", "LSTM", "GRU")
SIZES = (
    Size(1, 100, 32, 128),
    Size(1, 1000, 32, 64),
    Size(32, 10, 16, 64),
    Size(32, 100, 32, 128),
    Size(64, 100, 64, 256),
    Size(256, 30, 8, 64),
    Size(32, 50, 512, 512),
    Size(128, 500, 64, 128),
)
QUICK = (SIZES[0], SIZES[2], SIZES[3])


class Section(Protocol):
    """A part of the benchmark: what must hold before it, and its tables."""

    def parity(self, options: Options, /) -> Iterator[Check]: ...

    def tables(self, options: Options, /) -> Iterator[Table]: ...


SECTIONS: dict[str, Section] = {
    "speed": speed,
    "ragged": ragged,
    "variants": variants,
    "streaming": streaming,
    "import": Imports(),
    "memory": Memory(),
}
Item = TypeVar("Item")


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, then measure; 1 if a check failed, 2 where there is no GPU to measure."""
    given = _parser().parse_args(arguments)
    if given.device == "cuda":
        return cuda.main(given.sizes, given.quick, given.table, Console(soft_wrap=True).print)
    if given.isa and not _held(given.isa):
        return _hold(given.isa, sys.argv[1:] if arguments is None else arguments)
    sizes = given.sizes or (QUICK if given.quick else SIZES)
    options = Options(given.cells, sizes, given.threads, 0.2 if given.quick else 1.0, given.isa)
    console, facts = Console(), environment(given.isa)
    console.print(", ".join(f"{name}: {value}" for name, value in facts.items()), soft_wrap=True)
    with ls.use_backend(given.backend):
        checks = [check for name in given.sections for check in SECTIONS[name].parity(options)]
        failed = failures(checks)
        if failed:
            console.print("Parity failed, so nothing is measured.", *failed, sep="\n", markup=False)
            return 1
        worst = max((check.error for check in checks), default=0.0)
        console.print(f"Parity: {len(checks)} checks passed, the largest relative difference is {worst:.1e}.")
        tables = list(_shown(console, given.sections, options))
    if given.json:
        report = {"environment": facts, "checks": len(checks), "worst": worst, "tables": tables}
        given.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


def _held(isa: str) -> bool:
    """Whether this process was started under the limits of `isa`."""
    return all(os.environ.get(name) == value for name, value in limits(isa).items())


def _hold(isa: str, arguments: Sequence[str]) -> int:
    """Run the same benchmark in a new process that is held to `isa` from its start."""
    command = [sys.executable, "-m", "benchmarks.cells", *arguments]
    return subprocess.run(command, env={**os.environ, **limits(isa)}).returncode


def _shown(console: Console, sections: Sequence[str], options: Options) -> Iterator[dict[str, Any]]:
    """Print each table when it is ready; then hand it on for the JSON."""
    for name in sections:
        for table in SECTIONS[name].tables(options):
            console.print(table.picture())
            yield {"section": name, **asdict(table)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cells", description="longspan beside torch.nn."
    )
    parser.add_argument("--cells", type=_list(_among(CELLS)), default=CELLS, metavar=",".join(CELLS))
    parser.add_argument(
        "--sizes", type=_list(_size), metavar="BxTxIxH,...", help="sizes in place of the usual"
    )
    parser.add_argument("--threads", type=_list(_count), default=(1, 2), metavar="1,2")
    parser.add_argument(
        "--sections",
        type=_list(_among(SECTIONS)),
        default=tuple(SECTIONS),
        metavar="NAME,...",
        help=f"of {', '.join(SECTIONS)}",
    )
    parser.add_argument(
        "--device",
        choices=("cpu", "cuda"),
        default="cpu",
        help="cuda: the cells on a GPU, with a grid of its own (--sizes, --quick and --table count there)",
    )
    parser.add_argument("--table", type=Path, metavar="FILE", help="with --device cuda: write it as markdown")
    parser.add_argument("--backend", default="cpu", help="which of longspan's backends, such as cpu:avx2")
    parser.add_argument(
        "--isa",
        choices=[name for name in _core.instruction_sets() if name in TORCH_LIMITS],
        help="hold longspan and PyTorch to this instruction set",
    )
    parser.add_argument(
        "--quick", action="store_true", help="three small sizes, a fifth of the time for each"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the numbers in seconds, bytes and ratios"
    )
    return parser


def _list(one: Callable[[str], Item]) -> Callable[[str], tuple[Item, ...]]:
    return lambda words: tuple(one(word) for word in words.split(","))


def _among(known: Sequence[str] | dict[str, Section]) -> Callable[[str], str]:
    def one(word: str) -> str:
        if word not in known:
            raise argparse.ArgumentTypeError(f"expected some of {', '.join(known)}, received {word!r}")
        return word

    return one


def _count(word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise argparse.ArgumentTypeError(f"expected numbers of at least 1 such as 1,2, received {word!r}")
    return int(word)


def _size(word: str) -> Size:
    numbers = word.split("x")
    if len(numbers) != 4 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise argparse.ArgumentTypeError(f"expected BxTxIxH such as 32x100x32x128, received {word!r}")
    return Size(*map(int, numbers))


if __name__ == "__main__":
    sys.exit(main())
