"""Tests torch.vmap and torch.func.grad through the CPU kernels: to the bit what each model gets alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

import longspan as ls
from longspan import nn
from longspan.kernels import many
from tests.kernels.test_operators import close, flat, same

K, T, B, I, H = 3, 5, 4, 3, 9

LAYERS: dict[str, Callable[[], Any]] = {
    "lstm": lambda: nn.LSTM(I, H),
    "lstm, batch first": lambda: nn.LSTM(I, H, batch_first=True),
    "lstm, float64, two layers, both ways": lambda: nn.LSTM(I, H, 2, bidirectional=True, dtype=torch.float64),
    "lstm, projected, normalised": lambda: nn.LSTM(I, H, proj_size=2, layer_norm=True),
    "gru, both ways": lambda: nn.GRU(I, H, bidirectional=True),
    "rnn, no bias": lambda: nn.RNN(I, H, bias=False),
    "peephole": lambda: nn.Recurrent("peephole", I, H),
    "indrnn": lambda: nn.Recurrent("indrnn", I, H),
    "slstm": lambda: nn.Recurrent("slstm", I, H),
    "zoneout, evaluated": lambda: nn.LSTM(I, H, zoneout=(0.2, 0.4)).eval(),
}


class Models:
    """K layers of one shape, their weights side by side, and a loss of a layer's every output."""

    def __init__(self, make: Callable[[], Any], count: int = K) -> None:
        torch.manual_seed(3)
        self.layers = [make() for _ in range(count)]
        self.layer, self.dtype = self.layers[0], self.layers[0].all_weights[0][0].dtype
        self.weights, _ = stack_module_state(self.layers)

    def input(self, *shape: int) -> Tensor:
        return torch.randn(*shape, I, dtype=self.dtype)

    def __call__(self, weights: dict[str, Tensor], *args: Any, **options: Any) -> Any:
        return functional_call(self.layer, weights, args, options)

    def loss(self, weights: dict[str, Tensor], *args: Any, **options: Any) -> Tensor:
        outputs = flat(self(weights, *args, **options))
        return torch.stack([(t * t.detach().cos()).sum() for t in outputs]).sum()

    def alone(self, k: int) -> dict[str, Tensor]:
        return {name: tensor[k].detach().requires_grad_() for name, tensor in self.weights.items()}


def alone(models: Models, k: int, x: Tensor, **options: Any) -> tuple[Any, Any]:
    """The outputs of a model, and the gradients of its weights, by itself."""
    weights = models.alone(k)
    loss = models.loss(weights, x, **options)
    return models(weights, x, **options), torch.autograd.grad(loss, list(weights.values()))


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many models each call of the kernels under a map had; at least one such call is expected."""
    counts: list[int] = []
    forward = many._forward

    def counted(spec: Any, models: many.Models, *args: Any) -> Any:
        counts.append(models.count)
        return forward(spec, models, *args)

    monkeypatch.setattr(many, "_forward", counted)
    yield counts


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shared", [False, True], ids=["own input", "shared input"])
def test_each_model_gets_its_own_numbers(name: str, shared: bool, calls: list[int]) -> None:
    models = Models(LAYERS[name])
    x = models.input(*((T, B) if shared else (K, T, B)))
    dims = (0, None if shared else 0)
    found = vmap(models, dims)(models.weights, x)
    gradients = vmap(grad(models.loss), dims)(models.weights, x)
    by_autograd = torch.autograd.grad(
        vmap(models.loss, dims)(models.weights, x).sum(), list(models.weights.values())
    )
    assert set(calls) == {K}
    for k in range(K):
        outputs, wanted = alone(models, k, x if shared else x[k])
        same([t[k] for t in flat(found)], outputs)
        same([t[k] for t in gradients.values()], wanted)
        same([t[k] for t in by_autograd], wanted)


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_the_number_of_threads_changes_nothing(threads: int) -> None:
    models, before = Models(LAYERS["lstm"]), torch.get_num_threads()
    x = models.input(K, T, 40)
    wanted = [alone(models, k, x[k])[1] for k in range(K)]
    torch.set_num_threads(threads)
    try:
        found = vmap(grad(models.loss))(models.weights, x)
    finally:
        torch.set_num_threads(before)
    for k in range(K):
        same([t[k] for t in found.values()], wanted[k])


@pytest.mark.parametrize("name", ["lstm", "gru, both ways"])
def test_marks_and_states(name: str) -> None:
    models = Models(LAYERS[name])
    x, lengths = models.input(K, T, B), torch.tensor([T, 0, 2, 3])
    mask, reset = torch.rand(K, T, B) < 0.7, torch.rand(K, T, B) < 0.3
    h = torch.randn(len(flat(models(models.alone(0), x[0])[1])), K, len(models.layer.all_weights), B, H)

    def loss(weights: Any, x: Tensor, mask: Tensor, reset: Tensor, *h: Any) -> Tensor:
        state = h[0] if len(h) == 1 else h
        return models.loss(weights, x, state, lengths=lengths, mask=mask, reset=reset)

    learned = (0, 1, *range(4, 4 + len(h)))
    found = vmap(grad(loss, learned))(models.weights, x, mask, reset, *h)
    for k in range(K):
        leaves = [models.alone(k), x[k].requires_grad_(), *(s[k].requires_grad_() for s in h)]
        value = loss(*leaves[:2], mask[k], reset[k], *leaves[2:])
        same([t[k] for t in flat(found)], torch.autograd.grad(value, flat(leaves)))


def test_a_shared_weight_gets_the_sum_of_the_gradients() -> None:
    models = Models(lambda: nn.LSTM(I, H, dtype=torch.float64))
    x, weights = models.input(T, K, B), models.alone(0)
    total = vmap(models.loss, (None, 1))(weights, x).sum()
    wanted = torch.stack([models.loss(weights, x[:, k]) for k in range(K)]).sum()
    leaves = list(weights.values())
    close(torch.autograd.grad(total, leaves), torch.autograd.grad(wanted, leaves))


def test_maps_inside_maps(calls: list[int]) -> None:
    models = Models(LAYERS["lstm, batch first"])
    x = models.input(2, B, T)
    found = vmap(vmap(grad(models.loss), (0, None)), (None, 0))(models.weights, x)
    assert calls == [2 * K]
    for n in range(2):
        for k in range(K):
            same([t[n, k] for t in found.values()], alone(models, k, x[n])[1])


def test_grad_alone_runs_the_kernels() -> None:
    models = Models(LAYERS["gru, both ways"])
    x = models.input(T, B)
    same(list(grad(models.loss)(models.alone(0), x).values()), alone(models, 0, x)[1])


def test_jacobians_and_second_derivatives() -> None:
    models = Models(lambda: nn.LSTM(I, H, dtype=torch.float64))
    x = models.input(T, 2).requires_grad_()

    def run(weights: Any, x: Tensor) -> Tensor:
        return models(weights, x)[0].sum(0)

    def second() -> Any:
        (slope,) = torch.autograd.grad(
            vmap(run, (0, None))(models.weights, x).square().sum(), x, create_graph=True
        )
        return torch.autograd.grad(slope.square().sum(), [x, *models.weights.values()])

    found = [jacrev(run, 1)(models.alone(0), x), second()]
    with ls.use_backend("reference"):
        wanted = [jacrev(run, 1)(models.alone(0), x), second()]
    close(found, wanted)


NOISY: dict[str, Callable[[], Any]] = {
    "recurrent dropout": lambda: nn.LSTM(I, H, recurrent_dropout=0.5),
    "weight dropout": lambda: nn.LSTM(I, H, weight_dropout=0.5),
    "zoneout": lambda: nn.LSTM(I, H, zoneout=(0.5, 0.5)),
}


class TestRandomMasks:
    """Dropout under a map follows the map's `randomness`, as torch's own does."""

    @pytest.mark.parametrize("name", NOISY)
    def test_each_model_draws_its_own(self, name: str, calls: list[int]) -> None:
        layer, x = NOISY[name](), torch.randn(T, B, I)
        out = vmap(lambda w: functional_call(layer, w, (x,))[0], randomness="different")(
            {k: torch.stack([v.detach()] * K) for k, v in layer.named_parameters()}
        )
        assert calls == [K]
        assert not torch.equal(out[0], out[1])

    @pytest.mark.parametrize("name", NOISY)
    def test_without_a_choice_torch_says_what_to_choose(self, name: str) -> None:
        models = Models(NOISY[name])
        with pytest.raises(RuntimeError, match="randomness"):
            vmap(models, (0, None))(models.weights, models.input(T, B))


def test_lengths_of_each_model_are_refused() -> None:
    layer, lengths = nn.LSTM(I, H), torch.tensor([[T] * B, [1] * B])
    words = (
        "lengths: expected the same for all models of torch.vmap, received a dimension of models; give a mask"
    )
    with pytest.raises(ValueError, match=words):
        vmap(lambda x, n: layer(x, lengths=n)[0])(torch.randn(2, T, B, I), lengths)


def test_gates_run_on_the_reference(calls: list[int]) -> None:
    models = Models(LAYERS["lstm"])
    x = models.input(T, B)
    gates = vmap(lambda w: models(w, x, return_gates=True)[2][0]["f"])(models.weights)
    assert calls == []
    for k in range(K):
        torch.testing.assert_close(gates[k], models(models.alone(k), x, return_gates=True)[2][0]["f"])


def test_inference_saves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    models, saved = Models(LAYERS["lstm"]), []
    forward = many._forward
    monkeypatch.setattr(many, "_forward", lambda *args: saved.append(args[-1]) or forward(*args))
    with torch.no_grad():
        vmap(models, (0, None))(models.weights, models.input(T, B))
    assert saved == [False]
