"""The cells as definitions: their letters, their errors, and the functions that steps may use on tensors."""

from __future__ import annotations

import copy
import doctest
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from longspan import cells
from longspan.cells import CELLS, Cell, Values, cell, maximum, minimum, softplus


@cell(gates="fz", states="h")
def minimal(x: Values, r: Values, s: Values, p: Values) -> tuple[Any, ...]:
    """Minimal gated unit."""
    f = (x.f + r.f).sigmoid()
    return (f * s.h + (1 - f) * x.z.tanh(),)


def of(step: Any = minimal.step, **changes: Any) -> Cell:
    letters: dict[str, Any] = {"gates": "fz", "states": "h"}
    return cell(**(letters | changes))(step)


def test_letters_of_the_built_in_cells() -> None:
    letters = {c.name: (c.gates, c.states, c.params, c.recurrent) for c in CELLS.values()}
    assert letters == {
        "rnn": ("n", "h", "", True),
        "rnn_relu": ("n", "h", "", True),
        "lstm": ("ifgo", "hc", "", True),
        "gru": ("rzn", "h", "", True),
        "peephole": ("ifgo", "hc", "ifo", True),
        "cifg": ("fgo", "hc", "", True),
        "slstm": ("ifgo", "hcnm", "", True),
        "indrnn": ("n", "h", "u", False),
    }
    assert CELLS["slstm"].initial == {"m": -1e30}


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_names_its_source(name: str) -> None:
    assert "h' = " in CELLS[name].doc
    assert "Source: " in CELLS[name].doc
    assert CELLS[name].__doc__ == CELLS[name].doc


def test_a_user_cell_is_called_as_its_step_and_is_not_built_in() -> None:
    x, h = {"f": torch.randn(3), "z": torch.randn(3)}, torch.randn(3)
    r = {"f": torch.randn(3), "z": torch.randn(3)}
    (got,) = minimal(Values("x", x), Values("r", r), Values("s", {"h": h}), Values("p", {}))
    f = torch.sigmoid(x["f"] + r["f"])
    torch.testing.assert_close(got, f * h + (1 - f) * torch.tanh(x["z"]))
    assert minimal.name == "minimal"
    assert minimal.doc == "Minimal gated unit."
    assert "minimal" not in CELLS
    assert repr(minimal) == "Cell(minimal: gates fz, states h)"


@pytest.mark.parametrize("known", [minimal, CELLS["lstm"]], ids=["user", "built-in"])
def test_a_cell_is_copied_and_pickled_by_reference(known: Cell) -> None:
    assert copy.deepcopy(known) is known
    assert pickle.loads(pickle.dumps(known)) is known
    assert len({known, copy.copy(known)}) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"gates": "ff"}, "gates: expected distinct single letters, received 'ff'"),
        ({"gates": "f1"}, "gates: expected distinct single letters, received 'f1'"),
        ({"gates": ""}, "gates: expected at least one letter"),
        ({"states": "ch"}, "states: expected 'h' first, the state that is the output, received 'ch'"),
        ({"states": ""}, "states: expected 'h' first"),
        ({"states": "hz"}, "gates: expected letters that no state of 'hz' has, received 'fz'; rename 'z'"),
        ({"params": "uu"}, "params: expected distinct single letters, received 'uu'"),
        ({"initial": {"m": 1.0}}, "initial: expected constants for states of 'h', received 'm'"),
        ({"initial": {"h": float("-inf")}}, "initial: expected finite constants, received h=-inf; -1e30"),
        ({"step": lambda x, r, s, p: (x.f,)}, "name: expected an identifier, received '<lambda>'"),
    ],
)
def test_a_wrong_definition_says_what_is_wrong(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        of(**changes)


def test_an_undeclared_letter_is_named() -> None:
    words = (
        r"x\.q: expected a declared letter \(f z\), received 'q'; declare it in @cell or correct the step\."
    )
    with pytest.raises(AttributeError, match=words):
        _ = Values("x", {"f": 1.0, "z": 2.0}).q
    with pytest.raises(AttributeError, match=r"r\.f: expected a declared letter \(none\)"):
        _ = Values("r", {}).f


def test_softplus_on_tensors_is_exact_and_so_is_its_gradient() -> None:
    v = torch.tensor([-1000.0, -60.0, -3.0, -1e-9, 0.0, 0.5, 19.0, 21.0, 60.0, 1000.0], dtype=torch.float64)
    v.requires_grad_()
    got = softplus(v)
    want = F.softplus(v, threshold=2000.0).detach()
    want[v > 700] = v.detach()[v > 700]
    torch.testing.assert_close(got, want, rtol=1e-14, atol=0.0)
    (gradient,) = torch.autograd.grad(got.sum(), v)
    torch.testing.assert_close(gradient, torch.sigmoid(v), rtol=1e-14, atol=1e-300)
    low, high = torch.tensor([-torch.inf, torch.inf])
    assert softplus(low) == 0.0
    assert softplus(high) == torch.inf


@pytest.mark.parametrize(("ours", "theirs"), [(maximum, torch.maximum), (minimum, torch.minimum)])
def test_maximum_and_minimum_take_numbers_on_either_side(ours: Any, theirs: Any) -> None:
    v = torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64, requires_grad=True)
    for got in (ours(v, 0.5), ours(0.5, v), ours(v, torch.full_like(v, 0.5))):
        want = theirs(v, torch.full_like(v, 0.5))
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), v)[0], torch.autograd.grad(want.sum(), v)[0], rtol=0, atol=0
        )


def test_examples_run() -> None:
    assert doctest.testmod(cells).failed == 0
