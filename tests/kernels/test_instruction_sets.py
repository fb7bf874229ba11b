"""Tests that loading the kernels executes no instruction that the processor lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest

from longspan import _core

# The extension by itself, from its file: torch needs half a minute in the emulator.
LOAD = """
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("longspan._core", {path!r})
core = module_from_spec(spec)
spec.loader.exec_module(core)
print(core.instruction_sets())
for isa in core.instruction_sets():
    assert core.flags(isa) and core.cell(isa, "lstm")
for isa in ("avx512", "avx2", "baseline"):  # a layer of no rows: its table alone is asked for
    try:
        core.output_loss(isa, False, [0, 1, 1], [0] * 9, -100, 0.0, 1)
    except ValueError:
        assert isa not in core.instruction_sets()
"""


@pytest.mark.parametrize(
    ("processor", "instruction_sets"),
    [
        ("Nehalem", "['baseline']"),
        pytest.param("Haswell", "['avx2', 'baseline']", marks=pytest.mark.slow),
    ],
)
def test_an_older_processor_loads_the_kernels(processor: str, instruction_sets: str) -> None:
    """The processor by the emulator's name, with the instruction sets that it has, widest first."""
    emulator = shutil.which("qemu-x86_64")
    if emulator is None:
        pytest.skip("needs qemu-x86_64 (Debian: apt-get install qemu-user), to emulate older processors")
    if "libasan" in os.environ.get("LD_PRELOAD", ""):
        pytest.skip("the emulator has no room for the address sanitizer's shadow memory")
    if "baseline" not in _core.instruction_sets() or "neon" in _core.instruction_sets():
        pytest.skip("the emulated processors are x86-64's; this machine is not one")
    done = subprocess.run(
        [emulator, "-cpu", processor, sys.executable, "-I", "-S", "-c", LOAD.format(path=_core.__file__)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr  # -4 is SIGILL, an unknown instruction
    assert done.stdout.strip() == instruction_sets
