"""Computes Keras' functions of neural networks: activations, losses, normalizations, attention, encodings."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from longspan import config, errors

from .calling import axes_of, dtype_named, float_unary, operation, promote, to_float, to_int, to_tensor, unary
from .indexing import refuse_sparse

relu, relu6, sigmoid = unary("relu"), float_unary("relu6", F.relu6), float_unary("sigmoid")
softplus, softsign = float_unary("softplus", F.softplus), float_unary("softsign", F.softsign)
silu, swish = float_unary("silu", F.silu), float_unary("swish", F.silu)
selu, log_sigmoid = float_unary("selu", F.selu), float_unary("log_sigmoid", F.logsigmoid)
hard_sigmoid = float_unary("hard_sigmoid", F.hardsigmoid)
hard_silu, hard_swish = float_unary("hard_silu", F.hardswish), float_unary("hard_swish", F.hardswish)
hard_tanh, tanh_shrink = float_unary("hard_tanh", F.hardtanh), float_unary("tanh_shrink", F.tanhshrink)


@operation
def leaky_relu(x: Any, negative_slope: float = 0.2) -> Tensor:
    """x where it is positive, negative_slope * x elsewhere."""
    return F.leaky_relu(to_float(x), negative_slope)


@operation
def elu(x: Any, alpha: float = 1.0) -> Tensor:
    """x where it is positive, alpha * (exp(x) - 1) elsewhere (Clevert et al. 2016)."""
    return F.elu(to_float(x), alpha)


@operation
def celu(x: Any, alpha: float = 1.0) -> Tensor:
    """max(x, 0) + min(0, alpha * (exp(x / alpha) - 1)) (Barron 2017)."""
    return F.celu(to_float(x), alpha)


@operation
def gelu(x: Any, approximate: bool = True) -> Tensor:
    """x times the normal distribution function of x, with `approximate` by tanh (Hendrycks, Gimpel 2016)."""
    return F.gelu(to_float(x), approximate="tanh" if approximate else "none")


@operation
def glu(x: Any, axis: int = -1) -> Tensor:
    """The first half along the axis times the sigmoid of the second (Dauphin et al. 2017)."""
    return F.glu(to_float(x), axis)


@operation
def hard_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """x where |x| > threshold, 0 elsewhere."""
    return F.hardshrink(to_float(x), threshold)


@operation
def soft_shrink(x: Any, threshold: float = 0.5) -> Tensor:
    """x moved towards 0 by the threshold, 0 where it would pass it."""
    return F.softshrink(to_float(x), threshold)


@operation
def threshold(x: Any, threshold: float, default_value: float) -> Tensor:
    """x where it is above the threshold, default_value elsewhere."""
    return F.threshold(to_tensor(x), threshold, default_value)


@operation
def sparse_plus(x: Any) -> Tensor:
    """0 up to -1, ((x + 1) / 2)^2 up to 1, x above."""
    tensor = to_float(x)
    return torch.where(tensor <= -1, 0.0, torch.where(tensor < 1, 0.25 * (tensor + 1).square(), tensor))


@operation
def sparse_sigmoid(x: Any) -> Tensor:
    """0 up to -1, (x + 1) / 2 up to 1, 1 above."""
    return ((to_float(x) + 1) / 2).clamp(0.0, 1.0)


@operation
def squareplus(x: Any, b: float = 4) -> Tensor:
    """(x + sqrt(x^2 + b)) / 2 (Barron 2021)."""
    tensor = to_float(x)
    return (tensor + (tensor.square() + b).sqrt()) / 2


@operation
def softmax(x: Any, axis: Any = -1) -> Tensor:
    """exp(x) divided by its sum over the axes; None: over all."""
    tensor = to_float(x)
    if isinstance(axis, int):
        return tensor.softmax(axis)
    return (tensor - tensor.logsumexp(axes_of(tensor, axis), keepdim=True)).exp()


@operation
def log_softmax(x: Any, axis: Any = -1) -> Tensor:
    """The logarithm of `softmax`."""
    tensor = to_float(x)
    if isinstance(axis, int):
        return tensor.log_softmax(axis)
    return tensor - tensor.logsumexp(axes_of(tensor, axis), keepdim=True)


@operation
def sparsemax(x: Any, axis: int = -1) -> Tensor:
    """Values of at least 0, many of them 0, after Martins and Astudillo 2016, with Keras' numbers.

    Keras' threshold takes the sum of all partial sums, where algorithm 1 of the paper takes the last one:
    where more than one value is above 0 they do not sum to 1.
    """
    logits = to_float(x).movedim(axis, -1)
    falling = logits.sort(-1, descending=True).values
    sums = falling.cumsum(-1)
    ranks = torch.arange(1, logits.shape[-1] + 1, dtype=logits.dtype, device=logits.device)
    inside = falling - (sums - 1.0) / ranks > 0
    limit = (torch.where(inside, sums, 0.0).sum(-1, keepdim=True) - 1.0) / inside.sum(-1, keepdim=True)
    return (logits - limit).clamp_min(0.0).movedim(-1, axis)


@operation
def one_hot(x: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False) -> Tensor:
    """Class numbers as rows with a 1 at the number's place, zeros where it is negative or too large.

    Args:
        x: class numbers.
        num_classes: the length of a row.
        axis: where the rows' dimension is in the result.
        dtype: floats where None.
        sparse: accepted for False.
    """
    refuse_sparse(sparse)
    wanted = torch.get_default_dtype() if dtype is None else dtype_named(dtype)
    numbers = to_int(x).unsqueeze(-1)
    rows = (numbers == torch.arange(num_classes, device=numbers.device)).to(wanted)
    return rows.movedim(-1, axis)


@operation
def multi_hot(
    inputs: Any, num_classes: int, axis: int = -1, dtype: Any = None, sparse: bool = False
) -> Tensor:
    """One row for several class numbers, (..., K) -> (..., num_classes): 1 at the place of each."""
    rows = one_hot(inputs, num_classes, axis, dtype, sparse)
    return rows.amax(1 if rows.dim() > 2 else 0)


def _same_shape(target: Tensor, output: Tensor) -> None:
    if target.shape != output.shape:
        way_out = "reshape one, or use sparse_categorical_crossentropy for class numbers"
        raise errors.value_error("target", f"shape {tuple(output.shape)}", tuple(target.shape), way_out)


def _probabilities(output: Tensor, axis: int) -> Tensor:
    epsilon = config.epsilon()
    return (output / output.sum(axis, keepdim=True)).clamp(epsilon, 1.0 - epsilon)


@operation
def categorical_crossentropy(target: Any, output: Any, from_logits: bool = False, axis: int = -1) -> Tensor:
    """Cross entropy of one-hot targets and probabilities, or logits, (..., V) -> (...)."""
    truths, scores = (to_float(x) for x in promote(target, output))
    _same_shape(truths, scores)
    logarithms = scores.log_softmax(axis) if from_logits else _probabilities(scores, axis).log()
    return -(truths * logarithms).sum(axis)


@operation
def sparse_categorical_crossentropy(
    target: Any, output: Any, from_logits: bool = False, axis: int = -1
) -> Tensor:
    """Cross entropy of class numbers (...) or (..., 1) and probabilities, or logits, (..., V) -> (...)."""
    numbers, scores = to_int(target), to_float(output)
    if numbers.dim() == scores.dim() and numbers.shape[-1] == 1:
        numbers = numbers.squeeze(-1)
    logarithms = scores.log_softmax(axis) if from_logits else _probabilities(scores, axis).log()
    expected = tuple(logarithms.select(axis, 0).shape)
    if tuple(numbers.shape) != expected:
        way_out = "use categorical_crossentropy for one-hot targets"
        raise errors.value_error("target", f"class numbers {expected}", tuple(numbers.shape), way_out)
    return -logarithms.movedim(axis, -1).gather(-1, numbers.unsqueeze(-1)).squeeze(-1)


@operation
def binary_crossentropy(target: Any, output: Any, from_logits: bool = False) -> Tensor:
    """Cross entropy of truths in [0, 1] and probabilities, or logits, of the same shape."""
    truths, scores = (to_float(x) for x in promote(target, output))
    _same_shape(truths, scores)
    if from_logits:
        return F.binary_cross_entropy_with_logits(scores, truths, reduction="none")
    epsilon = config.epsilon()
    return F.binary_cross_entropy(scores.clamp(epsilon, 1.0 - epsilon), truths, reduction="none")


@operation
def ctc_loss(target: Any, output: Any, target_length: Any, output_length: Any, mask_index: int = 0) -> Tensor:
    """The connectionist temporal classification loss of each sequence (Graves et al. 2006).

    Args:
        target: class numbers (B, S).
        output: logits (B, T, V).
        target_length, output_length: the lengths (B,) of both.
        mask_index: the class number of the blank.
    """
    scores = to_float(output).transpose(0, 1).log_softmax(-1)
    lengths = to_int(output_length), to_int(target_length)
    return F.ctc_loss(scores, to_int(target), *lengths, blank=mask_index, reduction="none")


@operation
def moments(x: Any, axes: Any, keepdims: bool = False, synchronized: bool = False) -> tuple[Tensor, Tensor]:
    """The mean and the variance over the axes; `synchronized` is accepted for False."""
    if synchronized:
        way_out = "use torch.nn.SyncBatchNorm"
        raise errors.value_error("synchronized", "False", synchronized, way_out)
    tensor = to_float(x)
    mean = tensor.mean(axes_of(tensor, axes), keepdim=True)
    variance = (tensor - mean).square().mean(axes_of(tensor, axes), keepdim=keepdims)
    return mean if keepdims else mean.squeeze(axes_of(tensor, axes)), variance


@operation
def normalize(x: Any, axis: int = -1, order: Any = 2, epsilon: float | None = None) -> Tensor:
    """x divided by its norm over the axis, which counts as epsilon at least; None: `config.epsilon()`."""
    least = config.epsilon() if epsilon is None else epsilon
    tensor = to_float(x)
    return tensor / torch.linalg.vector_norm(tensor, order, axis, keepdim=True).clamp_min(least)


@operation
def batch_normalization(
    x: Any, mean: Any, variance: Any, axis: int, offset: Any = None, scale: Any = None, epsilon: float = 1e-3
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + offset, all vectors along the axis."""
    tensor = to_float(x)
    shape = [1] * tensor.dim()
    shape[axis] = -1

    def along(vector: Any) -> Tensor:
        return to_tensor(vector).to(tensor).reshape(shape)

    result = (tensor - along(mean)) * (along(variance) + epsilon).rsqrt()
    result = result if scale is None else result * along(scale)
    return result if offset is None else result + along(offset)


@operation
def layer_normalization(
    x: Any, gamma: Any = None, beta: Any = None, axis: Any = -1, epsilon: float | None = None
) -> Tensor:
    """(x - mean) / sqrt(variance + epsilon) over the axes, times gamma plus beta (Ba et al. 2016)."""
    tensor = to_float(x)
    axes = tuple(sorted(axes_of(tensor, axis)))
    mean, variance = moments(tensor.float() if tensor.dtype.itemsize < 4 else tensor, axes, keepdims=True)
    result = (tensor - mean) * (variance + (config.epsilon() if epsilon is None else epsilon)).rsqrt()
    shape = [size if i in axes else 1 for i, size in enumerate(tensor.shape)]
    result = result if gamma is None else result * to_tensor(gamma).reshape(shape)
    return (result if beta is None else result + to_tensor(beta).reshape(shape)).to(tensor.dtype)


@operation
def rms_normalization(x: Any, scale: Any = None, axis: Any = -1, epsilon: float | None = None) -> Tensor:
    """x / sqrt(mean of x^2 over the axes + epsilon), times the scale (Zhang, Sennrich 2019)."""
    tensor = to_float(x)
    axes = axes_of(tensor, axis)
    square = tensor.square().mean(axes, keepdim=True)
    result = tensor * (square + (config.epsilon() if epsilon is None else epsilon)).rsqrt()
    if scale is None:
        return result
    shape = [size if i in axes else 1 for i, size in enumerate(tensor.shape)]
    return result * to_tensor(scale).reshape(shape)


@operation
def dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    bias: Any = None,
    mask: Any = None,
    scale: float | None = None,
    is_causal: bool = False,
    flash_attention: bool | None = None,
    attn_logits_soft_cap: float | None = None,
) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017, equation 1), (B, T, heads, D) -> the same.

    Args:
        query: (B, T, heads, D).
        key, value: (B, S, heads, D), or fewer heads that divide those of the query.
        bias: added to the scores (B, heads, T, S).
        mask: True where a key may be attended to, of the shape of the bias.
        scale: of the scores; None: 1 / sqrt(D).
        is_causal: whether a step attends to steps up to its own alone.
        flash_attention: None, as torch chooses, or False: without it.
        attn_logits_soft_cap: c: scores become c * tanh(scores / c).
    """
    if flash_attention:
        way_out = "leave it out, torch takes it where it can"
        raise errors.value_error("flash_attention", "None or False", flash_attention, way_out)
    q, k, v = (to_float(x).transpose(1, 2) for x in promote(query, key, value))
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], 1) for x in (k, v))
    scores = q @ k.transpose(-1, -2) * (1.0 / math.sqrt(q.shape[-1]) if scale is None else scale)
    if attn_logits_soft_cap is not None:
        scores = attn_logits_soft_cap * torch.tanh(scores / attn_logits_soft_cap)
    scores = scores if bias is None else scores + to_tensor(bias).to(scores)
    allowed = None if mask is None else to_tensor(mask).bool()
    if is_causal:
        before = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        allowed = before if allowed is None else allowed & before
    if allowed is not None:
        scores = scores.masked_fill(~allowed, torch.finfo(scores.dtype).min * 0.7)
    return (scores.softmax(-1) @ v).transpose(1, 2)
