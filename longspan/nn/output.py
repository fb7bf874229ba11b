"""Output layers over large vocabularies: linear and cross entropy in one operator, sampled softmax."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from longspan import errors
from longspan.kernels import output_loss
from longspan.kernels.tracing import in_transform

from .embedding import lookup
from .linear import Linear

REDUCTIONS = ("mean", "sum", "none")


def linear_cross_entropy(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    *,
    linear_bias: Tensor | None = None,
    reduction: str = "mean",
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Cross entropy of a linear layer's outputs: torch.nn.functional.linear_cross_entropy for class numbers.

    The operator computes the logits of a few rows at a time, with their losses and gradients, and then
    forgets them. Its numbers are those of F.cross_entropy(F.linear(...)), which holds the logits of all
    rows several times. With "mean" and "sum" the gradients are made in the forward pass: three matrix
    products instead of four.

    Args:
        input: (..., K) floating, what the layer reads.
        linear_weight: (V, K), one row a class; linear_bias: (V,).
        target: (...) int64, from 0 to V - 1, or ignore_index.
        reduction: "mean" over the rows that count, "sum", or "none" for one loss a row.
        ignore_index: the target of rows that do not count: their loss and gradient are 0, whatever they hold.
        label_smoothing: share of the target's probability that is spread over all classes.

    Returns:
        A scalar, or (...) with reduction "none". "mean" over no row is NaN, as PyTorch's.

    Raises:
        ValueError, TypeError: an argument does not fit; the sentence names it.

    >>> loss = linear_cross_entropy(torch.zeros(2, 3), torch.ones(5, 3), torch.tensor([4, -100]))
    >>> round(loss.exp().item(), 3)
    5.0
    """
    errors.check_choice("reduction", reduction, REDUCTIONS)
    smoothing = errors.check_fraction("label_smoothing", label_smoothing)
    _check(input, linear_weight, target, linear_bias)
    x, weight, bias = _same_dtype(input.reshape(-1, input.shape[-1]), linear_weight, linear_bias)
    numbers = target.reshape(-1)
    if reduction == "none" or in_transform() or not numbers.numel():
        losses = (output_loss.reference if in_transform() else output_loss.rows)(
            x, weight, bias, numbers, smoothing, ignore_index
        )
        return _reduced(losses, target, reduction, ignore_index)
    scale = torch.ones(numbers.shape, dtype=torch.promote_types(x.dtype, torch.float32), device=x.device)
    if reduction == "mean":
        scale = scale / (numbers != ignore_index).sum()
    return output_loss.weighted_sum(x, weight, bias, numbers, scale, smoothing, ignore_index)


def _reduced(losses: Tensor, target: Tensor, reduction: str, ignore_index: int) -> Tensor:
    if reduction == "none":
        return losses.reshape(target.shape)
    return losses.sum() / (target != ignore_index).sum() if reduction == "mean" else losses.sum()


def _check(input: Tensor, weight: Tensor, target: Tensor, bias: Tensor | None) -> None:
    if weight.dim() != 2 or input.dim() < 1 or input.shape[-1] != weight.shape[1]:
        shapes = f"{tuple(input.shape)} and {tuple(weight.shape)}"
        raise errors.value_error(
            "input", "shapes (..., K) and (V, K)", shapes, "the last dimensions must agree"
        )
    if target.shape != input.shape[:-1]:
        raise errors.value_error(
            "target", f"shape {tuple(input.shape[:-1])}, one class a row", tuple(target.shape), "reshape it"
        )
    if target.dtype != torch.int64:
        raise TypeError(
            errors.message("target", "int64 class numbers", target.dtype, "convert it with .long()")
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise errors.value_error(
            "linear_bias", f"shape {tuple(weight.shape[:1])}", tuple(bias.shape), "give one number a class"
        )


def _same_dtype(input: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """In the dtype of autocast where it is on; on a CPU in that of the weights, which is quicker."""
    device = input.device.type
    if torch.is_autocast_enabled(device):
        dtype = weight.dtype if device == "cpu" else torch.get_autocast_dtype(device)
        return input.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype)
    if input.dtype != weight.dtype:
        raise TypeError(
            errors.message(
                "input",
                f"{weight.dtype} values like the weights",
                input.dtype,
                f"convert it with .to({weight.dtype})",
            )
        )
    return input, weight, bias


class LinearCrossEntropyLoss(nn.Module):
    """A linear layer with its cross entropy: torch.nn.LinearCrossEntropyLoss for class numbers.

    Args:
        in_features: K, values a row; num_classes: V.
        bias: whether the layer has one.
        reduction, ignore_index, label_smoothing: as for `linear_cross_entropy`.
        device, dtype: of the parameters.

    Attributes:
        linear: the layer (V, K), which also gives the logits: `loss.linear(x)`. Tie its weight to an
            embedding's by `loss.linear.weight = embedding.weight`.

    >>> LinearCrossEntropyLoss(3, 5)(torch.randn(2, 3), torch.tensor([4, 0])).shape
    torch.Size([])
    """

    def __init__(
        self,
        in_features: int,
        num_classes: int,
        *,
        bias: bool = False,
        reduction: str = "mean",
        ignore_index: int = -100,
        label_smoothing: float = 0.0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        errors.check_int("in_features", in_features, 1, "give the number of values a row")
        errors.check_int("num_classes", num_classes, 1, "give the number of classes")
        self.linear = Linear(in_features, num_classes, bias=bias, device=device, dtype=dtype)
        self.reduction = errors.check_choice("reduction", reduction, REDUCTIONS)
        self.ignore_index = ignore_index
        self.label_smoothing = errors.check_fraction("label_smoothing", label_smoothing)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """(..., K) and (...) -> a scalar, or (...) with reduction "none"."""
        return linear_cross_entropy(
            input,
            self.linear.weight,
            target,
            linear_bias=self.linear.bias,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
        )


class SampledSoftmaxLoss(nn.Module):
    """Cross entropy over a few sampled classes in training, over all of them in evaluation.

    Every batch draws `num_samples` negative classes, shared by its rows. A negative class counts by its
    exponential over the expected number of times that it is drawn, so that the sum estimates that over all
    classes (importance
    sampling: Bengio and Senecal 2008; "logQ correction": Jean et al. 2015, arXiv 1412.2007, section 3.1).
    The target is always there and so has no correction. A negative class that is a row's own target does
    not count for that row.

    Args:
        num_classes: V; num_samples: S, negative classes a batch.
        frequencies: (V,) how often each class occurs; None: classes are sorted from frequent to rare, drawn
            by log(1 + 1 / (v + 1)) / log(V + 1).
        power: exponent of the frequencies (0.75 in word2vec; 1 draws by the frequencies themselves).
        ignore_index: the target of rows that do not count.

    >>> loss = SampledSoftmaxLoss(1000, 20)
    >>> loss(torch.randn(2, 8), torch.randn(1000, 8), torch.tensor([4, 0])).shape
    torch.Size([])
    """

    log_probability: Tensor
    cumulative: Tensor

    def __init__(
        self,
        num_classes: int,
        num_samples: int,
        *,
        frequencies: Tensor | None = None,
        power: float = 1.0,
        ignore_index: int = -100,
    ) -> None:
        super().__init__()
        self.num_classes = errors.check_int("num_classes", num_classes, 2, "give the number of classes")
        self.num_samples = errors.check_int(
            "num_samples", num_samples, 1, "give the number of negative classes"
        )
        self.ignore_index = ignore_index
        shares = _zipf(num_classes) if frequencies is None else frequencies.double().clamp_min(1e-12) ** power
        if shares.shape != (num_classes,):
            raise errors.value_error(
                "frequencies", f"shape ({num_classes},)", tuple(shares.shape), "give one number a class"
            )
        shares = shares / shares.sum()
        self.register_buffer("log_probability", shares.log().float(), persistent=False)
        self.register_buffer("cumulative", shares.cumsum(0), persistent=False)

    def forward(
        self, input: Tensor, linear_weight: Tensor, target: Tensor, *, linear_bias: Tensor | None = None
    ) -> Tensor:
        """The mean loss of the rows that count, a scalar; arguments as of `linear_cross_entropy`."""
        if not self.training:
            return linear_cross_entropy(
                input, linear_weight, target, linear_bias=linear_bias, ignore_index=self.ignore_index
            )
        _check(input, linear_weight, target, linear_bias)
        counts = target.reshape(-1) != self.ignore_index
        x, numbers = input.reshape(-1, input.shape[-1])[counts], target.reshape(-1)[counts]
        drawn = self.draw(self.num_samples)
        own, others = lookup(linear_weight, numbers), lookup(linear_weight, drawn)
        own, others = (x * own).sum(1), x @ others.T
        if linear_bias is not None:
            own, others = own + linear_bias[numbers], others + linear_bias[drawn]
        others = others - (self.log_probability[drawn] + math.log(self.num_samples)).to(x.dtype)
        others = others.masked_fill(drawn == numbers.unsqueeze(1), -torch.inf)
        logits = torch.cat([own.unsqueeze(1), others], 1)
        return (logits.logsumexp(1) - own).mean()

    def draw(self, count: int) -> Tensor:
        """(count,) int64 classes, drawn with replacement by PyTorch's generator of the device."""
        points = torch.rand(count, dtype=torch.float64, device=self.cumulative.device)
        return torch.searchsorted(self.cumulative, points).clamp_max(self.num_classes - 1)


def _zipf(classes: int) -> Tensor:
    """(V,) the log-uniform probabilities of classes that are sorted from frequent to rare."""
    ranks = torch.arange(1, classes + 1, dtype=torch.float64)
    return torch.log1p(1.0 / ranks) / math.log(classes + 1)
