"""Tests that the fast single step at inference equals the ordinary call, and when it is not taken."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils import parametrizations

import longspan as ls
from longspan import _core, nn
from longspan.kernels import single_step

I, H = 3, 20

pytestmark = pytest.mark.skipif(single_step.EXCHANGE is None, reason="needs PyTorch 2.10")
every_cell = pytest.mark.parametrize(
    "cell", ["rnn", "rnn_relu", "lstm", "gru", "peephole", "slstm", "indrnn"]
)


@pytest.fixture(autouse=True)
def at_inference() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each try whether the short way was taken."""
    found: list[bool] = []
    step = single_step.SingleStep.step

    def tried(self: single_step.SingleStep, *args: Any) -> Any:
        result = step(self, *args)
        found.append(result is not None)
        return result

    monkeypatch.setattr(single_step.SingleStep, "step", tried)
    return found


def flat(value: Any) -> list[Tensor]:
    return [value] if isinstance(value, Tensor) else [t for part in value for t in flat(part)]


def state_of(layer: Any, rows: int | None, dtype: torch.dtype = torch.float32) -> Any:
    shape = (layer.num_layers, H) if rows is None else (layer.num_layers, rows, H)
    made: Any = tuple(torch.randn(shape, dtype=dtype) for _ in layer.cell.states)
    if layer.cell.name == "slstm":
        made = (*made[:2], made[2].abs() + 1, made[3])
    return made if len(made) > 1 else made[0]


def by_the_long_way(layer: Any, x: Tensor, state: Any) -> Any:
    with torch.enable_grad():
        return [t.detach() for t in flat(layer.step(x, state))]


def same(found: Any, wanted: Any, dtype: torch.dtype = torch.float32) -> None:
    tolerance = 1e-5 if dtype is torch.float32 else 1e-12
    for a, b in zip(flat(found), flat(wanted), strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@every_cell
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["f32", "f64"])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "batch_first": True}, {"bias": False}], ids=str)
def test_equals_the_long_way(
    cell: str, dtype: torch.dtype, options: dict[str, Any], taken: list[bool]
) -> None:
    layer = nn.Recurrent(cell, I, H, dtype=dtype, **options)
    for rows in (1, _core.STEP_ROWS, None):
        x = torch.randn(*(() if rows is None else (rows,)), I, dtype=dtype)
        state = state_of(layer, rows, dtype)
        found, wanted = layer.step(x, state), by_the_long_way(layer, x, state)
        same(found, wanted, dtype)
        with torch.inference_mode():
            again = layer.step(x, state)
            assert again[0].is_inference()
        assert all(map(torch.equal, flat(again), flat(found)))
    assert taken == [True, False, True] * 3


@pytest.mark.parametrize("name", ["LSTMCell", "GRUCell", "RNNCell"])
@pytest.mark.parametrize("bias", [True, False])
def test_one_step_cells(name: str, bias: bool, taken: list[bool]) -> None:
    ours, theirs = getattr(nn, name)(I, H, bias), getattr(torch.nn, name)(I, H, bias)
    ours.load_state_dict(theirs.state_dict())
    for shape in ((1,), (3,), ()):
        x, state = torch.randn(*shape, I), torch.randn(*shape, H)
        given = (state, torch.randn(*shape, H)) if name == "LSTMCell" else state
        same(ours(x, given), theirs(x, given))
    assert taken == [True] * 3


def test_a_stream_is_the_sequence(taken: list[bool]) -> None:
    layer, x = nn.LSTM(I, H, 2), torch.randn(9, 1, I)
    state, outs = None, []
    for reading in x:
        out, state = layer.step(reading, state)
        outs.append(out)
    whole, last = layer(x)
    same((torch.stack(outs), state), (whole, last))
    assert taken == [True] * 8


def test_results_are_memory_of_their_own(taken: list[bool]) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(1, I)
    state = state_of(layer, 1)
    kept = [t.clone() for t in state]
    out, (h, c) = layer.step(x, state)
    held = [t.clone() for t in (out, h, c)]
    h.zero_()
    c.zero_()
    again = layer.step(x, state)
    assert torch.equal(out, held[0]) and all(map(torch.equal, flat(again), held))
    assert all(map(torch.equal, state, kept)) and all(taken)


def test_numbers_live_as_long_as_any_tensor_that_shows_them(taken: list[bool]) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(2, I)
    state = state_of(layer, 2)
    out, (h, c) = layer.step(x, state)
    expected = [part.clone() for part in (out, h, c)]
    views = [out[1:], h.numpy(), c.view(-1)]
    assert all(part.data_ptr() % 64 == 0 and part.is_contiguous() for part in (out, h, c))
    del out, h, c, layer
    for _ in range(100):  # steps that would write over memory given back too early
        nn.LSTM(I, H).step(x, state)
    for view, whole in zip(views, (expected[0][1:], expected[1].numpy(), expected[2].view(-1)), strict=True):
        assert (view == whole).all()
    assert all(taken)


def test_changed_weights_are_seen(taken: list[bool]) -> None:
    layer: Any = nn.LSTM(I, H)
    x, state = torch.randn(2, I), state_of(layer, 2)
    changes = [
        lambda: layer.weight_ih_l0.data.mul_(2),
        lambda: layer.weight_hh_l0.copy_(torch.randn(4 * H, H) / 5),
        lambda: setattr(layer.bias_hh_l0, "data", torch.randn(4 * H)),
        lambda: setattr(layer, "weight_hh_l0", torch.nn.Parameter(torch.randn(4 * H, H) / 5)),
        lambda: layer.load_state_dict(nn.LSTM(I, H).state_dict()),
        lambda: setattr(layer.weight_hh_l0, "data", torch.randn(H, 4 * H).T / 5),
    ]
    for i, change in enumerate(changes):
        before = layer.step(x, state)
        change()
        found = layer.step(x, state)
        same(found, by_the_long_way(layer, x, state))
        assert not torch.allclose(found[0], before[0])
        assert taken[-2] == (i < len(changes) - 1)  # the last is not contiguous
    layer.double()
    wide = [t.double() for t in state]
    same(layer.step(x.double(), tuple(wide)), by_the_long_way(layer, x.double(), tuple(wide)), torch.float64)


def test_other_weights_for_one_call(taken: list[bool]) -> None:
    layer, x = nn.GRU(I, H), torch.randn(1, I)
    state = state_of(layer, 1)
    other = {k: torch.randn_like(v) / 5 for k, v in layer.named_parameters()}

    class Step(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor, state: Tensor) -> Any:
            return self.layer.step(x, state)

    named = {f"layer.{k}": v for k, v in other.items()}
    found = torch.func.functional_call(Step(), named, (x, state))
    twin = nn.GRU(I, H)
    twin.load_state_dict(other)
    same(found, twin.step(x, state))
    parametrizations.weight_norm(layer, "weight_hh_l0")
    same(layer.step(x, state), by_the_long_way(layer, x, state))
    assert taken[0] is False and taken[-2:] == [False, False]


def test_options_that_add_to_a_step_take_the_long_way(taken: list[bool]) -> None:
    x = torch.randn(1, I)
    for options in (
        {"zoneout": 0.3}, {"layer_norm": True}, {"proj_size": 5}, {"num_layers": 2, "dropout": 0.5},
        {"recurrent_dropout": 0.5}, {"weight_dropout": 0.5}, {"hidden_size": (H, 5)},
    ):  # fmt: skip
        layer = nn.LSTM(I, **({"hidden_size": H} | options))  # pyright: ignore[reportArgumentType]
        _, state = layer.step(x)
        layer.step(x, state)
        assert not any(taken)
    layer = nn.LSTM(I, H, recurrent_dropout=0.5).eval()
    layer.step(x, state_of(layer, 1))
    assert taken == [True]


def test_hooks_are_called(taken: list[bool]) -> None:
    layer, x, called = nn.GRU(I, H), torch.randn(1, I), []
    layer.register_forward_hook(lambda *_: called.append(True))
    layer.step(x, state_of(layer, 1))
    assert called and not any(taken)


def test_forced_backends_and_autocast(taken: list[bool]) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(1, I)
    state = state_of(layer, 1)
    for name in ("reference", "cpu:baseline"):
        with ls.use_backend(name):
            same(layer.step(x, state), by_the_long_way(layer, x, state))
    with torch.autocast("cpu", torch.bfloat16):
        half = layer.step(x, state)
    assert half[0].dtype is torch.bfloat16 and not any(taken)
    with ls.use_backend("gpu"), pytest.raises(RuntimeError, match="the tensors are on cpu"):
        layer.step(x, state)


def test_what_follows_programs_sees_the_step() -> None:
    layer, x = nn.LSTM(I, H), torch.randn(2, 1, I)
    state = tuple(torch.randn(1, 1, H) for _ in range(2))
    mapped = torch.func.vmap(lambda x: layer.step(x, state)[0])(x)
    same(mapped, torch.stack([layer.step(one, state)[0] for one in x]))
    torch._dynamo.reset()
    run = torch.compile(lambda x: layer.step(x, state), fullgraph=True, backend="aot_eager")
    same(run(x[0]), layer.step(x[0], state))
    from torch.fx.experimental.proxy_tensor import make_fx

    graph = make_fx(lambda x: layer.step(x, state)[0])(x[0])
    same(graph(x[1]), layer.step(x[1], state)[0])


def test_more_rows_and_odd_tensors_take_the_long_way(taken: list[bool]) -> None:
    layer = nn.LSTM(I, H)
    rows = _core.STEP_ROWS + 1
    x, state = torch.randn(rows, I), state_of(layer, rows)
    same(layer.step(x, state), by_the_long_way(layer, x, state))
    x, (h, c) = torch.randn(1, 2 * I)[:, ::2], state_of(layer, 1)
    for one, given in (
        (x, (h, c)),
        (x.clone(), [h, c]),
        (x.clone(), (h, torch.randn(1, 1, 2 * H)[..., ::2])),
    ):
        same(layer.step(one, given), by_the_long_way(layer, one, given))
    assert not any(taken)


@pytest.mark.parametrize(
    ("x", "state", "words"),
    [
        (torch.zeros(1, I + 1), (1, 1), "input: expected a tensor of shape"),
        (torch.zeros(1, I, dtype=torch.float64), (1, 1), "input: expected torch.float32 values"),
        (torch.zeros(1, 1, I), (1, 1), "input of step: expected a tensor of shape"),
        ([0.0] * I, (1, 1), "input of step: expected a tensor of shape"),
        (torch.zeros(2, I), (1, 1), "state h: expected shape"),
        (torch.zeros(1, I), (1,), "state: expected a tuple"),
        (torch.zeros(1, I), 3, "state: expected a tuple"),
    ],
)
def test_errors_stay_words(x: Any, state: Any, words: str) -> None:
    given = tuple(torch.zeros(1, n, H) for n in state) if isinstance(state, tuple) else state
    with pytest.raises((ValueError, TypeError), match=f"^{words}"):
        nn.LSTM(I, H).step(x, given)


def test_nan_passes_through() -> None:
    layer, x = nn.LSTM(I, H), torch.randn(2, I)
    x[1, 0] = torch.nan
    out, _ = layer.step(x, state_of(layer, 2))
    assert out[1].isnan().all() and not out[0].isnan().any()


def test_copies_and_pickles(taken: list[bool]) -> None:
    layer, x = nn.LSTM(I, H), torch.randn(1, I)
    state = state_of(layer, 1)
    wanted = layer.step(x, state)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        same(twin.step(x, state), wanted)
    assert taken == [True] * 3


def test_many_python_threads() -> None:
    layer, readings = nn.LSTM(I, H), torch.randn(50, 1, I)
    wanted, wrong = layer(readings)[0], []

    def work() -> None:
        state = state_of(layer, 1)
        state = tuple(torch.zeros_like(s) for s in state)
        with torch.no_grad():
            for i, reading in enumerate(readings):
                out, state = layer.step(reading, state)
                if not torch.allclose(out, wanted[i], atol=1e-5):
                    wrong.append(i)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong
