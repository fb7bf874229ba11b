"""The output layers beside the plain pair, F.linear and F.cross_entropy, in numbers, gradients and memory."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import longspan as ls
from longspan.kernels.cpu import INSTRUCTION_SETS
from longspan.nn.output import LinearCrossEntropyLoss, SampledSoftmaxLoss, linear_cross_entropy

SIZES = [(1, 1, 1), (5, 7, 11), (70, 33, 130), (17, 520, 241), (300, 64, 1000)]


class Given(NamedTuple):
    x: Tensor
    weight: Tensor
    bias: Any  # a tensor or None
    target: Tensor


def given(size: tuple[int, int, int], dtype: torch.dtype, *, bias: bool = True, seed: int = 0) -> Given:
    """Leaves (N, K), (V, K), (V,) and targets, every third of them ignored."""
    torch.manual_seed(seed)
    N, K, V = size
    target = torch.randint(V, (N,))
    target[1::3] = -100
    offsets = torch.randn(V, dtype=dtype).requires_grad_() if bias else None
    weight = torch.randn(V, K, dtype=dtype).mul_(K**-0.5).requires_grad_()
    return Given(torch.randn(N, K, dtype=dtype).requires_grad_(), weight, offsets, target)


def ours(g: Given, **options: Any) -> Tensor:
    return linear_cross_entropy(g.x, g.weight, g.target, linear_bias=g.bias, **options)


def plain(g: Given, **options: Any) -> Tensor:
    return F.cross_entropy(F.linear(g.x, g.weight, g.bias), g.target, **options)


def gradients(loss: Tensor, g: Given, **options: Any) -> list[Tensor]:
    seed = torch.linspace(1.0, 1.5, loss.numel(), dtype=loss.dtype).reshape(loss.shape)
    leaves = [t for t in g[:3] if t is not None]
    return list(torch.autograd.grad(loss, leaves, seed, **options))


def check(mine: list[Tensor], theirs: list[Tensor]) -> None:
    rtol, atol = (2e-5, 1e-5) if mine[0].dtype is torch.float32 else (1e-10, 1e-12)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=rtol, atol=atol)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
@pytest.mark.parametrize("size", SIZES)
def test_numbers_and_gradients_are_those_of_the_plain_pair(
    size: tuple[int, int, int], isa: str, dtype: torch.dtype
) -> None:
    with ls.use_backend(f"cpu:{isa}"):
        for reduction, smoothing, bias in itertools.product(
            ("mean", "sum", "none"), (0.0, 0.2), (True, False)
        ):
            g = given(size, dtype, bias=bias)
            options = {"reduction": reduction, "label_smoothing": smoothing}
            mine, theirs = ours(g, **options), plain(g, **options)
            check([mine, *gradients(mine, g)], [theirs, *gradients(theirs, g)])
            with torch.no_grad():
                check([ours(g, **options)], [theirs.detach()])


@pytest.mark.parametrize("seed", range(12))
def test_random_sizes_targets_and_weights_of_rows_agree(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    N, K, V = (int(torch.randint(1, most, (), generator=random)) for most in (90, 70, 400))
    g = given((N, K, V), torch.float64, seed=seed, bias=seed % 2 == 0)
    g.target.masked_fill_(torch.rand(N, generator=random) < 0.3, -1)
    options = {
        "ignore_index": -1,
        "label_smoothing": float(torch.rand((), generator=random)),
        "reduction": "none",
    }
    g.target.clamp_min_(-1)
    weights = torch.randn(N, generator=random, dtype=torch.float64)
    mine, theirs = (ours(g, **options) * weights).sum(), (plain(g, **options) * weights).sum()
    check([mine, *gradients(mine, g)], [theirs, *gradients(theirs, g)])


def test_the_number_of_threads_changes_no_bit() -> None:
    g, found = given((300, 40, 700), torch.float32), []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            loss = ours(g, label_smoothing=0.1)
            found.append([loss.detach(), *gradients(loss, g)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_some_gradients_alone_are_the_same() -> None:
    whole = given((40, 24, 50), torch.float64)
    expected = dict(zip("xwb", gradients(plain(whole), whole), strict=True))
    for letters in ("x", "w", "b", "xb", "wb"):
        leaves = [t.detach().requires_grad_(k in letters) for k, t in zip("xwb", whole[:3], strict=True)]
        loss = linear_cross_entropy(leaves[0], leaves[1], whole.target, linear_bias=leaves[2])
        wanted = [t for t in leaves if t.requires_grad]
        check(list(torch.autograd.grad(loss, wanted)), [expected[k] for k in letters])


def test_gradcheck_and_the_second_derivative() -> None:
    g = given((5, 3, 4), torch.float64)

    def call(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, g.target, linear_bias=bias, label_smoothing=0.1)

    def each(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, g.target, linear_bias=bias, reduction="none")

    for function in (call, each):
        assert torch.autograd.gradcheck(function, g[:3])
        assert torch.autograd.gradgradcheck(function, g[:3])


def test_backward_may_run_twice() -> None:
    g = given((20, 8, 30), torch.float64)
    loss = ours(g)
    first = gradients(loss, g, retain_graph=True)
    check(gradients(loss, g), first)


def test_a_tied_weight_gets_the_sum_of_its_gradients() -> None:
    def grad(output: Any) -> Tensor:
        table = torch.linspace(-1, 1, 60, dtype=torch.float64).reshape(12, 5).requires_grad_()
        numbers, target = torch.tensor([1, 3, 3, 7]), torch.tensor([3, 3, 7, 0])
        output(F.embedding(numbers, table), table, target).backward()
        assert table.grad is not None
        return table.grad

    expected = grad(lambda x, w, t: F.cross_entropy(F.linear(x, w), t))
    check([grad(linear_cross_entropy)], [expected])


def test_what_ignored_rows_hold_does_not_matter() -> None:
    g = given((50, 12, 30), torch.float32)
    clean = ours(g)
    expected = gradients(clean, g)
    spoilt = g._replace(
        x=g.x.detach().clone().index_fill(0, torch.arange(1, 50, 3), torch.nan).requires_grad_()
    )
    loss = ours(spoilt)
    check([loss, *gradients(loss, spoilt)], [clean, *expected])


def test_no_row_that_counts_is_as_torch_has_it() -> None:
    for size in ((0, 4, 6), (3, 4, 6)):
        g = given(size, torch.float32)
        g.target.fill_(-100)
        for reduction in ("mean", "sum", "none"):
            mine, theirs = ours(g, reduction=reduction), plain(g, reduction=reduction)
            torch.testing.assert_close(mine, theirs, equal_nan=True)
            if reduction != "mean":
                check(gradients(mine, g), gradients(theirs, g))


def test_extreme_logits_stay_exact() -> None:
    x = torch.tensor([[200.0], [-300.0], [0.0]]).requires_grad_()
    weight = torch.tensor([[1.0], [-1.0], [0.5]]).requires_grad_()
    g = Given(x, weight, torch.tensor([0.0, -torch.inf, 5.0]).requires_grad_(), torch.tensor([0, 2, 2]))
    mine, theirs = ours(g, reduction="none"), plain(g, reduction="none")
    torch.testing.assert_close(mine, theirs)
    for a, b in zip(gradients(mine.sum(), g), gradients(theirs.sum(), g), strict=True):
        torch.testing.assert_close(a, b)


def test_rows_may_have_several_dimensions() -> None:
    g = given((12, 6, 9), torch.float64)
    shaped = g._replace(x=g.x.reshape(3, 4, 6), target=g.target.reshape(3, 4))
    assert ours(shaped, reduction="none").shape == (3, 4)
    check([ours(shaped)], [ours(g)])
    turned = g._replace(x=g.x.reshape(4, 3, 6).transpose(0, 1), target=g.target.reshape(4, 3).T)
    check([ours(turned)], [ours(g)])


def test_half_precision_runs_by_chunks_of_plain_operations() -> None:
    g = given((33, 16, 40), torch.float32)
    x, weight, bias = (t.detach().bfloat16().requires_grad_() for t in g[:3])
    half = Given(x, weight, bias, g.target)
    mine, theirs = ours(half), plain(g).bfloat16().float()
    torch.testing.assert_close(mine, theirs, rtol=2e-2, atol=2e-2)
    for a, b in zip(gradients(mine, half), gradients(plain(g), g), strict=True):
        torch.testing.assert_close(a.float(), b, rtol=5e-2, atol=5e-3)


def test_chunks_of_plain_operations_have_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from longspan.kernels import output_loss

    monkeypatch.setattr(output_loss, "CHUNK_NUMBERS", 200)
    monkeypatch.setattr(output_loss.cpu, "DTYPES", ())
    for smoothing in (0.0, 0.2):
        g = given((33, 7, 40), torch.float64)
        mine, theirs = ours(g, label_smoothing=smoothing), plain(g, label_smoothing=smoothing)
        check([mine, *gradients(mine, g)], [theirs, *gradients(theirs, g)])


def test_autocast_computes_in_the_weights_own_dtype_on_a_cpu() -> None:
    g = given((9, 6, 8), torch.float32)
    with torch.autocast("cpu"):
        loss = ours(g._replace(x=g.x.bfloat16()))
    assert loss.dtype is torch.float32
    torch.testing.assert_close(loss, plain(g), rtol=1e-2, atol=1e-2)


def test_a_compiled_program_keeps_the_operator() -> None:
    g = given((20, 8, 30), torch.float32)
    graphs = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(graph)
        return make_boxed_func(graph.forward)

    from torch._dynamo.backends.common import aot_autograd
    from torch._functorch._aot_autograd.utils import make_boxed_func

    def loss(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return linear_cross_entropy(x, weight, g.target, linear_bias=bias)

    compiled = torch.compile(loss, fullgraph=True, backend=aot_autograd(fw_compiler=backend))
    mine, theirs = compiled(*g[:3]), plain(g)
    check([mine, *gradients(mine, g)], [theirs, *gradients(theirs, g)])
    assert "longspan.linear_cross_entropy" in graphs[0].print_readable(print_output=False)


def test_an_exported_program_keeps_the_operator() -> None:
    layer, x, target = LinearCrossEntropyLoss(4, 6, bias=True), torch.randn(5, 4), torch.arange(5)
    program = torch.export.export(layer.eval(), (x, target))
    torch.testing.assert_close(program.module()(x, target), layer(x, target))


def test_transforms_take_the_plain_pair() -> None:
    g = given((5, 3, 4), torch.float64)

    def loss(x: Tensor) -> Tensor:
        return linear_cross_entropy(x, g.weight.detach(), g.target)

    found = torch.func.grad(loss)(g.x.detach())
    check([found], list(torch.autograd.grad(loss(g.x), g.x)))


@pytest.mark.parametrize(
    "change, words",
    [
        (
            {"target": torch.tensor([1, 99])},
            r"target: expected class numbers from 0 to 4, or ignore_index \(-100\), received 99",
        ),
        ({"target": torch.tensor([-1, 0])}, "target: expected class numbers"),
        ({"target": torch.tensor([1])}, r"target: expected shape \(2,\)"),
        ({"target": torch.tensor([1, 2], dtype=torch.int32)}, "target: expected int64"),
        ({"x": torch.zeros(2, 4)}, r"input: expected shapes \(..., K\) and \(V, K\)"),
        ({"x": torch.zeros(2, 3, dtype=torch.float64)}, "input: expected torch.float32 values"),
        ({"bias": torch.zeros(4)}, r"linear_bias: expected shape \(5,\)"),
    ],
)
def test_what_does_not_fit_is_one_sentence(change: dict[str, Tensor], words: str) -> None:
    g = Given(torch.zeros(2, 3), torch.zeros(5, 3), torch.zeros(5), torch.tensor([0, 1]))
    with pytest.raises((ValueError, TypeError), match=words):
        ours(g._replace(**change))


def test_the_module_has_torchs_parameters() -> None:
    mine = LinearCrossEntropyLoss(4, 6, bias=True, label_smoothing=0.1)
    x, target = torch.randn(5, 4), torch.randint(6, (5,))
    expected = F.cross_entropy(mine.linear(x), target, label_smoothing=0.1)
    torch.testing.assert_close(mine(x, target), expected)
    assert set(mine.state_dict()) == {"linear.weight", "linear.bias"}
    theirs: Any = getattr(torch.nn, "LinearCrossEntropyLoss", None)  # from PyTorch 2.12 on
    if theirs is not None:
        theirs(4, 6, bias=True).load_state_dict(mine.state_dict())


def test_sampled_softmax_approaches_the_full_one() -> None:
    """Its mean gradient over many draws, beside the full softmax's."""
    g = given((6, 5, 40), torch.float64, bias=True)
    assert g.bias is not None
    frequencies = torch.arange(40, 0, -1).double()
    loss = SampledSoftmaxLoss(40, 400, frequencies=frequencies)
    total = sum(
        torch.autograd.grad(loss(g.x, g.weight, g.target, linear_bias=g.bias), g.weight)[0] for _ in range(60)
    )
    expected = gradients(plain(g), g)[1]
    assert isinstance(total, Tensor)
    assert float((total / 60 - expected).norm() / expected.norm()) < 0.05
    loss.eval()
    torch.testing.assert_close(loss(g.x, g.weight, g.target, linear_bias=g.bias), plain(g))


def test_sampled_classes_have_the_shares_they_should() -> None:
    shares = torch.bincount(
        SampledSoftmaxLoss(4, 1, frequencies=torch.tensor([4.0, 1, 0, 1]), power=0.5).draw(30000)
    )
    torch.testing.assert_close(shares / 30000, torch.tensor([0.5, 0.25, 0.0, 0.25]), atol=0.01, rtol=0)
    zipf = torch.bincount(SampledSoftmaxLoss(3, 1).draw(30000)) / 30000
    torch.testing.assert_close(
        zipf, torch.log1p(1 / torch.arange(1.0, 4.0)) / torch.tensor(4.0).log(), atol=0.01, rtol=0
    )
