"""Fixtures that all tests share: the backends to run on, and memory filled with NaN."""

from __future__ import annotations

import importlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

# Before PyTorch loads its pool: threads with nothing to do sleep, as other programs want the cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # every worker has a core of its own

import numpy as np
import pytest
import torch

os.environ.setdefault("KERAS_BACKEND", "torch")  # read once, when Keras is loaded
os.environ["LONGSPAN_NAN_MEMORY"] = "1"  # read once, when the kernels are loaded: their scratch memory

from longspan import kernels


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """One process for each core, at most eight, for the whole suite; none beside pytest for named files."""
    whole = config.args_source != config.ArgsSource.ARGS
    return min(os.cpu_count() or 1, 8) if whole else 0


def runnable() -> list[str]:
    """The backends that would run a small float32 LSTM here."""
    job = kernels.probe_job()
    return [name for name, _ in kernels.BACKENDS if kernels.why_not(name, job) is None]


@pytest.fixture(params=runnable())
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each backend in turn, forced for the whole test."""
    with kernels.use_backend(request.param):
        yield request.param


@pytest.fixture(autouse=True, scope="session")
def uninitialised_memory_is_nan() -> Iterator[None]:
    """torch.empty gives NaN (integers: the largest number), which PyTorch does in its deterministic mode."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def seed() -> None:
    """Every test draws the same numbers, alone or among others."""
    random.seed(0)  # Keras draws its seeds from this generator
    np.random.seed(0)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def benchmark_module() -> Callable[[str], ModuleType]:
    """Imports a module of benchmarks/, which is no installed package, by its name."""
    root = str(Path(__file__).resolve().parents[1])

    def module(name: str) -> ModuleType:
        sys.path.insert(0, root)
        try:
            return importlib.import_module(f"benchmarks.{name}")
        finally:
            sys.path.remove(root)

    return module
