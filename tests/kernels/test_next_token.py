"""The next token's probabilities and its draw in C++ equal PyTorch's operators."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from longspan.kernels import next_token
from longspan.kernels.cpu_driver import EXCHANGE

native = pytest.mark.skipif(
    EXCHANGE is None, reason="PyTorch before 2.10 has no exchange of tensors with C++"
)


def plain(logits: torch.Tensor, shares: np.ndarray, weight: float, bias: torch.Tensor) -> torch.Tensor:
    mixed = (1.0 - weight) * logits.double().softmax(-1) + weight * torch.from_numpy(shares)
    return (mixed.log() + bias).to(logits.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("size", [1, 7, 2049])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_mixture_equals_the_equation(dtype: torch.dtype, size: int, weight: float) -> None:
    torch.manual_seed(size)
    logits = (5.0 * torch.randn(1, size)).to(dtype)
    shares = torch.rand(size, dtype=torch.float64).softmax(0).numpy()
    bias = torch.zeros(size, dtype=dtype)
    bias[size // 2] = -torch.inf
    mixed = next_token.mixed_log_probs(logits, shares, weight, bias)
    tolerance = 0.1 if dtype is torch.bfloat16 else 1e-5
    torch.testing.assert_close(mixed, plain(logits, shares, weight, bias), rtol=tolerance, atol=tolerance)


@native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draw_is_the_highest_logit_minus_logarithm_of_its_variate(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for size in (1, 2, 65, 2048):
        logits = torch.randn(1, size, dtype=dtype)
        variates = torch.empty_like(logits).exponential_()
        drawn = next_token.draw(logits, variates)
        assert drawn is not None and drawn.dtype is torch.int64
        assert drawn.tolist() == (logits - variates.log()).argmax(1).tolist()


def test_draw_leaves_to_pytorch_what_is_not_one_row_of_few_numbers() -> None:
    for logits in (
        torch.zeros(2, 3),
        torch.zeros(1, 2049),
        torch.zeros(1, 3, dtype=torch.float16),
        torch.zeros(1, 6)[:, ::2],
        torch.full((1, 3), torch.nan),
        torch.full((1, 3), -torch.inf),
    ):
        assert next_token.draw(logits, torch.ones_like(logits)) is None


@native
def test_left_out_tokens_are_never_drawn() -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf]])
    for _ in range(50):
        drawn = next_token.draw(logits, torch.empty_like(logits).exponential_())
        assert drawn is not None and drawn.tolist() == [1]


@native
def test_mixture_refuses_shares_of_another_size() -> None:
    with pytest.raises(RuntimeError, match="must match the size"):
        next_token.mixed_log_probs(torch.zeros(1, 3), np.ones(2) / 2, 0.5, torch.zeros(3))
