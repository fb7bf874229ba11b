"""Optimizers step by Keras' equations, restated in NumPy, and as Keras itself does."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from copy import deepcopy
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longspan import layers, losses, models, optimizers
from longspan.optimizers import fused, schedules

keras: Any = import_module("keras")  # as Any: its annotations are unions of every backend's
SHAPES = [(3, 2), (4,), ()]
STEPS = 6
CASES: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"learning_rate": 0.2, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"momentum": 0.8, "nesterov": True}),
    ("RMSprop", {}),
    ("RMSprop", {"rho": 0.7, "momentum": 0.5, "centered": True, "epsilon": 1e-3}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.05, "beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}),
    ("Adam", {"amsgrad": True, "epsilon": 1e-3, "learning_rate": 0.1}),
    ("AdamW", {"learning_rate": 0.1}),
    ("Adam", {"clipnorm": 0.5}),
    ("SGD", {"clipvalue": 0.3}),
    ("SGD", {"global_clipnorm": 0.7}),
]


def numbers() -> tuple[list[np.ndarray], list[list[np.ndarray]]]:
    draw = np.random.default_rng(0)
    start = [draw.normal(size=shape) for shape in SHAPES]
    grads = [[np.asarray(draw.normal(size=shape)) * 0.5**step for shape in SHAPES] for step in range(STEPS)]
    return start, grads


def clipped(o: dict[str, Any], grads: list[np.ndarray]) -> list[np.ndarray]:
    if "clipnorm" in o:
        return [g * min(1, o["clipnorm"] / np.linalg.norm(g)) for g in grads]
    if "clipvalue" in o:
        return [np.clip(g, -o["clipvalue"], o["clipvalue"]) for g in grads]
    if "global_clipnorm" in o:
        norm = math.sqrt(sum((g**2).sum() for g in grads))
        return [g * min(1, o["global_clipnorm"] / norm) for g in grads]
    return grads


def stepped(
    name: str, o: dict[str, Any], w: np.ndarray, g: np.ndarray, s: dict[str, Any], t: int
) -> np.ndarray:
    """One step of Keras' update_step, its letters kept."""
    lr, e = o["learning_rate"], o.get("epsilon")
    if o["weight_decay"]:
        w = w - w * o["weight_decay"] * lr
    if name == "SGD":
        if not o["momentum"]:
            return w - lr * g
        s["m"] = m = o["momentum"] * s.get("m", 0) - lr * g
        return w + (o["momentum"] * m - lr * g if o["nesterov"] else m)
    if name == "RMSprop":
        s["v"] = v = o["rho"] * s.get("v", 0) + (1 - o["rho"]) * g**2
        if o["centered"]:
            s["a"] = a = o["rho"] * s.get("a", 0) + (1 - o["rho"]) * g
            v = v - a**2
        step = lr * g / np.sqrt(v + e)
        s["m"] = step = o["momentum"] * s.get("m", 0) + step
        return w - step
    alpha = lr * math.sqrt(1 - o["beta_2"] ** t) / (1 - o["beta_1"] ** t)
    s["m"] = m = s.get("m", 0) + (g - s.get("m", 0)) * (1 - o["beta_1"])
    s["v"] = v = s.get("v", 0) + (g**2 - s.get("v", 0)) * (1 - o["beta_2"])
    if o["amsgrad"]:
        s["h"] = v = np.maximum(s.get("h", 0), v)
    return w - m * alpha / (np.sqrt(v) + e)


def ours(config: optimizers.OptimizerConfig, dtype: torch.dtype = torch.float64) -> Sequence[Tensor]:
    start, grads = numbers()
    weights = [nn.Parameter(torch.tensor(w, dtype=dtype)) for w in start]
    optimizer = config.build(weights)
    for step in grads:
        for weight, grad in zip(weights, step, strict=True):
            weight.grad = torch.tensor(grad, dtype=dtype)
        optimizer.step()
    return weights


@pytest.mark.parametrize(("name", "options"), CASES)
def test_equations(name: str, options: dict[str, Any]):
    config = optimizers.CLASSES[name](**options)
    weights, grads = numbers()
    states: list[dict[str, Any]] = [{} for _ in weights]
    for t, step in enumerate(grads, 1):
        kept = clipped(options, step)
        weights = [
            stepped(name, config.get_config(), w, g, s, t)
            for w, g, s in zip(weights, kept, states, strict=True)
        ]
    for found, wanted in zip(ours(config), weights, strict=True):
        np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-9, atol=1e-12)


OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("Adagrad", {}),
    ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0, "weight_decay": 0.1}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.7, "epsilon": 1e-4}),
    ("Adamax", {}),
    ("Adamax", {"learning_rate": 0.1, "beta_1": 0.6, "beta_2": 0.8, "epsilon": 1e-2}),
    ("Nadam", {}),
    ("Nadam", {"learning_rate": 0.1, "beta_1": 0.6, "beta_2": 0.8, "epsilon": 1e-2, "clipnorm": 0.5}),
    ("Lamb", {}),
    ("Lamb", {"learning_rate": 0.1, "beta_1": 0.6, "beta_2": 0.8, "epsilon": 1e-2, "weight_decay": 0.1}),
    ("Lion", {"learning_rate": 0.1}),
    ("Lion", {"beta_1": 0.5, "beta_2": 0.7, "weight_decay": 0.5}),
    ("Ftrl", {}),
    ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": -0.7, "initial_accumulator_value": 0.5,
              "l1_regularization_strength": 0.1, "l2_regularization_strength": 0.2,
              "l2_shrinkage_regularization_strength": 0.3, "beta": 0.4}),
    ("Adafactor", {}),
    ("Adafactor", {"learning_rate": 0.3, "beta_2_decay": -0.6, "epsilon_2": 0.1, "clip_threshold": 0.5}),
    ("Muon", {}),
    ("Muon", {"learning_rate": 0.1, "nesterov": False, "rms_rate": None, "ns_steps": 3, "clipnorm": 0.5}),
    ("Muon", {"exclude_layers": [""], "adam_lr_ratio": 0.5, "adam_weight_decay": None, "epsilon": 1e-3}),
]  # fmt: skip


SHARED: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"use_ema": True, "ema_momentum": 0.6, "ema_overwrite_frequency": 2}),
    ("SGD", {"use_ema": True, "learning_rate": 0.1, "momentum": 0.9, "ema_overwrite_frequency": 1}),
    ("Adam", {"gradient_accumulation_steps": 2, "learning_rate": 0.1}),
    ("RMSprop", {"gradient_accumulation_steps": 3, "use_ema": True, "ema_overwrite_frequency": 3}),
    ("Lion", {"gradient_accumulation_steps": 2}),
]


@pytest.mark.filterwarnings("ignore")  # of Keras itself
@pytest.mark.parametrize(("name", "options"), CASES + OTHERS + SHARED)
def test_keras_itself(name: str, options: dict[str, Any]):
    start, grads = numbers()
    weights = [keras.Variable(w.astype("float32")) for w in start]
    theirs = getattr(keras.optimizers, name)(**options)
    theirs.build(weights)
    for step in grads:
        theirs.apply([keras.ops.convert_to_tensor(g.astype("float32")) for g in step], weights)
    for found, wanted in zip(ours(optimizers.CLASSES[name](**options), torch.float32), weights, strict=True):
        theirs_now = keras.ops.convert_to_numpy(wanted.value)
        np.testing.assert_allclose(found.detach().numpy(), theirs_now, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(("name", "options"), CASES)
def test_without_the_fused_functions(name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    expected = ours(optimizers.CLASSES[name](**options), torch.float64)
    for function, (_, plain) in fused.FUNCTIONS.items():
        assert vars(fused)[function] is not plain  # this version of PyTorch has them all
        monkeypatch.setattr(fused, function, plain)
    for plainly, at_once in zip(ours(optimizers.CLASSES[name](**options)), expected, strict=True):
        torch.testing.assert_close(plainly, at_once, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", sorted(set(optimizers.CLASSES) - {"MultiOptimizer"}))
def test_saved_in_the_middle(name: str):
    torch.manual_seed(0)
    options: dict[str, Any] = {"momentum": 0.5} if name in ("SGD", "RMSprop") else {}
    options |= {"amsgrad": True} if name in ("Adam", "AdamW") else {}
    weights = [nn.Parameter(torch.randn(3)) for _ in range(2)]
    grads = torch.randn(4, 3)
    one = optimizers.CLASSES[name](**options).build(weights[:1])
    two = optimizers.CLASSES[name](**options).build(weights[1:])
    for step in range(2):
        weights[0].grad = grads[step].clone()
        one.step()
    weights[1].data.copy_(weights[0].data)
    two.load_state_dict(deepcopy(one.state_dict()))
    for step in (2, 3):
        for weight, optimizer in zip(weights, (one, two), strict=True):
            weight.grad = grads[step].clone()
            optimizer.fused_step()
    assert torch.equal(weights[0], weights[1])


def test_parameters_without_gradients_and_of_other_kinds_are_stepped_apart():
    weights = [nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(2).double())]
    optimizer = optimizers.Adam(0.1).build(weights)
    weights[0].grad, weights[2].grad = torch.ones(2), torch.ones(2).double()
    optimizer.step()
    assert weights[1].tolist() == [1, 1] and weights[0].tolist() == pytest.approx([0.9, 0.9], rel=1e-5)
    assert weights[2].tolist() == pytest.approx([0.9, 0.9], rel=1e-5)


def test_rates_that_change():
    weight = nn.Parameter(torch.zeros(()))
    optimizer = optimizers.SGD(lambda step: 1.0 / (step + 1)).build([weight])
    for _ in range(3):
        weight.grad = torch.ones(())
        optimizer.step()
    assert weight.item() == pytest.approx(-(1 + 1 / 2 + 1 / 3))
    optimizer.learning_rate = 10.0
    weight.grad = torch.ones(())
    optimizer.step()
    assert optimizer.learning_rate == 10.0 and weight.item() == pytest.approx(-(1 + 1 / 2 + 1 / 3) - 10)


def test_a_closure_is_called_with_gradients():
    weight = nn.Parameter(torch.ones(()))
    optimizer = optimizers.SGD(0.5).build([weight])

    def closure() -> float:
        value = weight.square()
        value.backward()
        return value.item()

    assert optimizer.step(closure) == 1.0 and weight.item() == 0.0


SCHEDULES: list[tuple[str, dict[str, Any]]] = [
    ("ExponentialDecay", {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5}),
    (
        "ExponentialDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True},
    ),
    (
        "InverseTimeDecay",
        {"initial_learning_rate": 0.1, "decay_steps": 4, "decay_rate": 0.5, "staircase": True},
    ),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "power": 2.0}),
    ("PolynomialDecay", {"initial_learning_rate": 0.1, "decay_steps": 5, "cycle": True}),
    ("CosineDecay", {"initial_learning_rate": 0.1, "decay_steps": 10, "alpha": 0.1}),
    (
        "CosineDecay",
        {"initial_learning_rate": 0.0, "decay_steps": 6, "warmup_target": 0.2, "warmup_steps": 4},
    ),
    ("PiecewiseConstantDecay", {"boundaries": [3, 7], "values": [1.0, 0.5, 0.1]}),
]


@pytest.mark.parametrize(("name", "options"), SCHEDULES)
def test_schedules_of_keras_itself(name: str, options: dict[str, Any]):
    theirs = getattr(keras.optimizers.schedules, name)(**options)
    mine = schedules.CLASSES[name](**options)
    for step in range(13):
        assert mine(step) == pytest.approx(float(theirs(step)), rel=1e-5, abs=1e-8)


@pytest.mark.parametrize(
    ("case", "step", "rate"),
    [
        (0, 8, 0.025),
        (1, 7, 0.05),
        (2, 8, 0.05),
        (3, 5, 1e-4),
        (4, 7, 0.0999 * 0.3 + 1e-4),
        (5, 10, 0.01),
        (6, 2, 0.1),
        (6, 7, 0.1),
        (7, 3, 1.0),
        (7, 4, 0.5),
        (7, 99, 0.1),
    ],
)
def test_schedules(case: int, step: int, rate: float):
    name, options = SCHEDULES[case]
    schedule = schedules.CLASSES[name](**options)
    assert schedule(step) == pytest.approx(rate)
    assert schedules.get(schedules.serialize(schedule)) == schedule


def test_averages_become_the_weights_at_the_end():
    weight = nn.Parameter(torch.zeros(1))
    optimizer = optimizers.SGD(1.0, use_ema=True, ema_momentum=0.5).build([weight])
    for _ in range(3):  # the weight is 1, 2, 3; its average 1, 1.5, 2.25
        weight.grad = -torch.ones(1)
        optimizer.step()
    assert weight.item() == 3.0
    optimizer.finalize_variable_values()
    assert weight.item() == 2.25
    model = models.Sequential([layers.Input((1,)), layers.Dense(1, use_bias=False)])
    model.set_weights([np.zeros((1, 1))])
    model.compile(
        optimizers.SGD(0.5, use_ema=True, ema_momentum=0.5), losses.FunctionLoss(lambda y, p: -p[:, 0])
    )
    model.fit(np.ones((3, 1)), np.zeros(3), batch_size=1, shuffle=False, verbose=0)
    assert model.get_weights()[0].item() == 1.125


def test_shared_options_are_saved_and_older_names_are_read():
    config = optimizers.Adam(0.01, gradient_accumulation_steps=4, use_ema=True)
    assert (
        config.get_config()["gradient_accumulation_steps"] == 4 and "ema_momentum" not in config.get_config()
    )
    assert optimizers.get(optimizers.serialize(config)).get_config() == config.get_config()
    old = optimizers.SGD(lr=0.1, decay=0.5)
    assert callable(old.learning_rate) and [old.learning_rate(step) for step in (0, 2)] == [0.1, 0.05]
    assert optimizers.get(optimizers.serialize(old)).learning_rate == old.learning_rate


def test_saved_and_made_again():
    config = optimizers.AdamW(schedules.CosineDecay(0.1, 10), beta_1=0.8)
    again = optimizers.get(optimizers.serialize(config))
    assert type(again) is optimizers.AdamW and again.get_config() == config.get_config()
    assert type(optimizers.get("adam")) is optimizers.Adam and type(optimizers.get("SGD")) is optimizers.SGD


WRONG: dict[str, tuple[Callable[[], Any], str]] = {
    "name": (
        lambda: optimizers.get("adm"),
        "received 'adm'; the nearest is 'adam'.",
    ),
    "option": (
        lambda: optimizers.Adam(use_emma=True),  # pyright: ignore[reportCallIssue]
        "Adam: expected one of its options, received 'use_emma'; the nearest is 'use_ema'.",
    ),
    "accumulation": (
        lambda: optimizers.Adam(gradient_accumulation_steps=0),
        "gradient_accumulation_steps: expected a whole number of at least 1, received 0",
    ),
    "kind": (
        lambda: optimizers.get(3),  # pyright: ignore
        'optimizer: expected a name, or an optimizer of longspan, received int; pass one such as "adam".',
    ),
    "rate": (lambda: optimizers.Adam(-1.0), "learning_rate: expected a number of at least 0, received -1.0"),
    "beta": (lambda: optimizers.Adam(beta_1=1.0), "beta_1: expected a number in [0, 1), received 1.0"),
    "clips": (
        lambda: optimizers.SGD(clipnorm=1.0, clipvalue=1.0),
        "clipnorm, clipvalue or global_clipnorm: expected at most one of them, received 2",
    ),
    "clip": (
        lambda: optimizers.SGD(clipnorm=-1.0).build([nn.Parameter(torch.ones(1))]),
        "clipnorm: expected a",
    ),
    "saving": (
        lambda: optimizers.serialize(optimizers.SGD(lambda step: 0.1)),
        "schedule: expected a schedule of this library, since functions and classes of your own are",
    ),
    "values": (
        lambda: schedules.PiecewiseConstantDecay([1], [1.0]),
        "values: expected one more than boundaries, received 1 for 1 boundaries",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_sentence(case: str):
    wrong, words = WRONG[case]
    with pytest.raises((ValueError, TypeError), match=re.escape(words)):
        wrong()


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [("Ftrl", "learning_rate_power", 0.5), ("Ftrl", "l1_regularization_strength", -1.0),
     ("Adagrad", "initial_accumulator_value", -0.1), ("Adadelta", "rho", 1.0), ("Lion", "beta_1", 1.5),
     ("Lion", "beta_1", 0.0), ("ScheduleFreeAdamW", "beta_1", 0.0), ("SGD", "loss_scale_factor", 0.0)],
)  # fmt: skip
def test_options_out_of_range_are_refused(name: str, option: str, value: float):
    with pytest.raises(ValueError, match=f"^{option}: expected a number"):
        optimizers.CLASSES[name](**{option: value})
