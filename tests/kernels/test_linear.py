"""Linear layers by oneDNN have the numbers of torch's; what a machine chooses is measured once and kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.kernels import linear as module
from longspan.kernels.linear import linear
from longspan.layers import Dense
from longspan.nn import Linear

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN"
)


@pytest.fixture
def by_onednn(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Every product is large and oneDNN's; the shapes of those that it made."""
    made: list[tuple[int, ...]] = []
    product = module._product

    def noted(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
        made.append(tuple(a.shape))
        return product(a, b, bias)

    monkeypatch.setattr(module, "LARGE", 0)
    monkeypatch.setattr(module, "onednn_is_faster", lambda: True)
    monkeypatch.setattr(module, "_product", noted)
    yield made


def numbers(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=generator).requires_grad_()


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("lead", [(7,), (3, 5), (2, 3, 4), (2,)], ids=str)
def test_outputs_and_gradients_are_those_of_torch(
    by_onednn: list[tuple[int, ...]], lead: tuple[int, ...], bias: bool
) -> None:
    x, weight, b = numbers(*lead, 11), numbers(13, 11), numbers(13) if bias else None
    wanted = [t for t in (x, weight, b) if t is not None]
    out, expected = linear(x, weight, b), F.linear(x, weight, b)
    grad = torch.randn_like(expected)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    mine, theirs = (torch.autograd.grad(y, wanted, grad) for y in (out, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
    assert len(by_onednn) == 3  # the outputs, dx and dW


def test_views_that_are_not_contiguous(by_onednn: list[tuple[int, ...]]) -> None:
    x, weight = numbers(11, 6, 4).transpose(0, 2), numbers(11, 5).t()
    with torch.no_grad():
        torch.testing.assert_close(linear(x, weight), F.linear(x, weight), rtol=1e-5, atol=1e-5)
    assert by_onednn


@pytest.mark.parametrize(
    "bias",
    [torch.arange(6.0)[::2], torch.ones(1).expand(3), torch.ones(1), torch.tensor(2.0), torch.ones(5, 3)],
    ids=["strided", "expanded", "one", "scalar", "rows"],
)
def test_a_bias_that_onednn_cannot_read(by_onednn: list[tuple[int, ...]], bias: Tensor) -> None:
    x, weight = numbers(5, 4), numbers(3, 4)
    torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-5, atol=1e-5)
    assert not by_onednn


def test_only_the_gradients_that_are_wanted(by_onednn: list[tuple[int, ...]]) -> None:
    x, weight = numbers(6, 4).detach(), numbers(3, 4)
    linear(x, weight).sum().backward()
    assert x.grad is None and len(by_onednn) == 2
    torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 4), rtol=1e-5, atol=1e-5)


def test_gradients_of_gradients(by_onednn: list[tuple[int, ...]]) -> None:
    x, weight, b = numbers(4, 3), numbers(2, 3), numbers(2)

    def slopes(product: object) -> tuple[Tensor, ...]:
        y = (linear if product is linear else F.linear)(x, weight, b)
        first = torch.autograd.grad((y**3).sum(), [x, weight], create_graph=True)
        return torch.autograd.grad(sum((g**2).sum() for g in first), [x, weight, b])  # type: ignore[arg-type]

    torch.testing.assert_close(slopes(linear), slopes(F.linear), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:TF32 acceleration")  # which `flags` asks about
def test_what_is_left_to_torch(by_onednn: list[tuple[int, ...]]) -> None:
    x, weight = numbers(5, 4).detach(), numbers(3, 4).detach()
    assert linear(x.double(), weight.double()).dtype is torch.float64
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert linear(x, weight).dtype is torch.bfloat16
    torch.func.vmap(linear)(x.unsqueeze(0), weight.unsqueeze(0))
    torch.func.grad(lambda w: linear(x, w).sum())(weight)
    torch.export.export(Linear(4, 3), (x,))
    with torch.backends.mkldnn.flags(enabled=False):
        linear(x, weight)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        linear(x, weight[:, :3])
    assert not by_onednn


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # which torch itself calls
def test_forward_mode_differentiation(by_onednn: list[tuple[int, ...]]) -> None:
    x, weight, tangent = numbers(5, 4).detach(), numbers(3, 4), numbers(5, 4).detach() + 1
    for w in (weight, weight.detach()):
        with torch.autograd.forward_ad.dual_level():
            made = linear(torch.autograd.forward_ad.make_dual(x, tangent), w)
            slope = torch.autograd.forward_ad.unpack_dual(made).tangent
            torch.testing.assert_close(slope, F.linear(tangent, w))
    assert not by_onednn
    out = linear(x, weight)
    with torch.autograd.forward_ad.dual_level():
        grad = torch.autograd.forward_ad.make_dual(torch.ones_like(out), torch.ones_like(out))
        (dw,) = torch.autograd.grad(out, weight, grad)
        slope = torch.autograd.forward_ad.unpack_dual(dw).tangent
        torch.testing.assert_close(slope, x.sum(0).expand(3, 4))


def test_graphs_of_torch_fx(by_onednn: list[tuple[int, ...]]) -> None:
    x, layer = numbers(5, 4).detach(), Linear(4, 3)
    graph = torch.fx.symbolic_trace(nn.Sequential(layer))
    torch.testing.assert_close(graph(x), F.linear(x, layer.weight, layer.bias))


def test_layers_use_it(by_onednn: list[tuple[int, ...]]) -> None:
    x = numbers(5, 4).detach()
    layer, dense = Linear(4, 3), Dense(3)
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias), rtol=1e-5, atol=1e-5)
    assert len(by_onednn) == 1
    dense(x)
    assert len(by_onednn) == 2


def test_small_products_are_torch_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "onednn_is_faster", lambda: pytest.fail("a small product was looked at"))
    x, weight = numbers(5, 4).detach(), numbers(3, 4).detach()
    assert torch.equal(linear(x, weight), F.linear(x, weight))


@pytest.mark.parametrize(("ratio", "chosen"), [(1.1, False), (2.0, True)])
def test_the_choice_is_measured_once_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ratio: float, chosen: bool
) -> None:
    file = tmp_path / "cache" / "linear.json"
    monkeypatch.setenv("LONGSPAN_CACHE", str(file.parent))
    measured: list[float] = []
    monkeypatch.setattr(module, "_ratio", lambda: measured.append(ratio) or ratio)

    def choose() -> bool:
        return module.onednn_is_faster.__wrapped__()

    assert choose() is chosen and choose() is chosen and len(measured) == 1
    assert json.loads(file.read_text()) == {module._machine(): chosen}
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")  # another processor, as far as the libraries know
    assert choose() is chosen and len(measured) == 2 and len(json.loads(file.read_text())) == 2
    file.write_text("{half")
    assert choose() is chosen and len(measured) == 3


def test_a_folder_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LONGSPAN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(module, "_ratio", lambda: 2.0)
    assert module.onednn_is_faster.__wrapped__()


@pytest.mark.parametrize(
    ("set_default", "value", "usual"),
    [(torch.set_default_dtype, torch.float64, torch.float32), (torch.set_default_device, "meta", None)],
    ids=["dtype", "device"],
)
def test_torch_s_defaults_do_not_change_what_is_measured(
    monkeypatch: pytest.MonkeyPatch, set_default: Callable[[Any], None], value: Any, usual: Any
) -> None:
    seen: list[tuple[torch.dtype, str]] = []
    monkeypatch.setattr(module, "_product", lambda x, weight: seen.append((x.dtype, weight.device.type)))
    set_default(value)
    try:
        module._ratio()
    finally:
        set_default(usual)
    assert set(seen) == {(torch.float32, "cpu")}
