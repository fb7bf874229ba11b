"""Functions of Keras' backend, by the names that keras.backend and tf.keras.backend have for them.

Most are those of `longspan.ops` under an older name or with an older argument; new code calls `longspan.ops`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longspan import activations, errors, ops
from longspan.config import backend as backend
from longspan.config import epsilon as epsilon
from longspan.config import floatx as floatx
from longspan.config import image_data_format as image_data_format
from longspan.config import set_epsilon as set_epsilon
from longspan.config import set_floatx as set_floatx
from longspan.config import set_image_data_format as set_image_data_format
from longspan.layers.naming import reset_names
from longspan.layers.symbolic import KerasTensor
from longspan.ops.calling import dtype_name, dtype_named, to_float, to_tensor
from longspan.optimizers.base import LearningRate
from longspan.variables import Variable as Variable
from longspan.variables import name_scope as name_scope

# The same as in ops.
abs, all, any, cast, cos, dtype, eval = (
    ops.abs, ops.all, ops.any, ops.cast, ops.cos, ops.dtype, ops.convert_to_numpy,
)  # fmt: skip
elu, exp, hard_sigmoid, log, logsumexp = ops.elu, ops.exp, ops.hard_sigmoid, ops.log, ops.logsumexp
max, mean, min, ndim, one_hot, prod = ops.max, ops.mean, ops.min, ops.ndim, ops.one_hot, ops.prod
round, shape, sigmoid, sign, sin = ops.round, ops.shape, ops.sigmoid, ops.sign, ops.sin
softmax, softplus, softsign, square, squeeze = (
    ops.softmax,
    ops.softplus,
    ops.softsign,
    ops.square,
    ops.squeeze,
)
stack, std, stop_gradient, sum, tanh = ops.stack, ops.std, ops.stop_gradient, ops.sum, ops.tanh
tile, transpose, var = ops.tile, ops.transpose, ops.var
binary_crossentropy, categorical_crossentropy = ops.binary_crossentropy, ops.categorical_crossentropy
sparse_categorical_crossentropy = ops.sparse_categorical_crossentropy
equal, not_equal, greater, greater_equal = ops.equal, ops.not_equal, ops.greater, ops.greater_equal
less, less_equal, maximum, minimum = ops.less, ops.less_equal, ops.maximum, ops.minimum


def clear_session(free_memory: bool = True) -> None:
    """The same as `longspan.utils.clear_session`."""
    reset_names()


def is_keras_tensor(x: Any) -> bool:
    """Whether it is a symbolic tensor, as `Input` and layers return it."""
    return isinstance(x, KerasTensor)


def is_float_dtype(dtype: Any) -> bool:
    """Whether a dtype, such as "float32", is one of floats."""
    return dtype_named(dtype).is_floating_point


def is_int_dtype(dtype: Any) -> bool:
    """Whether a dtype, such as "int32", is one of whole numbers."""
    named = dtype_named(dtype)
    return not named.is_floating_point and not named.is_complex and named != torch.bool


def standardize_dtype(dtype: Any) -> str:
    """The name of a dtype, such as "float32"; None: `floatx`."""
    return floatx() if dtype is None else dtype_name(dtype_named(dtype))


def result_type(*dtypes: Any) -> str:
    """The name of the dtype of a result of tensors of these dtypes."""
    result = dtype_named(dtypes[0])
    for other in dtypes[1:]:
        result = torch.promote_types(result, dtype_named(other))
    return dtype_name(result)


def cast_to_floatx(x: Any) -> Any:
    """x in the dtype `floatx`: an array stays one."""
    return ops.cast(x, floatx()) if isinstance(x, (Tensor, KerasTensor)) else np.asarray(x, floatx())


def int_shape(x: Any) -> tuple[int | None, ...]:
    """The sizes of a tensor, None where any size will do."""
    return ops.shape(x)


def count_params(x: Any) -> int:
    """The number of values of a tensor."""
    return int(np.prod([size or 0 for size in ops.shape(x)]))


# Values that are kept.


def variable(value: Any, dtype: Any = None, name: str | None = None, constraint: None = None) -> Tensor:
    """A tensor to read with `get_value` and to change with `set_value`; for weights call `Layer.add_weight`.

    Args:
        value: its first value.
        dtype: `floatx` where None.
        name: accepted without effect, tensors have no names.
        constraint: accepted for None.
    """
    if constraint is not None:
        way_out = "pass it to Layer.add_weight(constraint=...)"
        raise errors.value_error("constraint", "None", constraint, way_out)
    return to_tensor(value, dtype or floatx()).clone()


def constant(
    value: Any, dtype: Any = None, shape: Sequence[int] | None = None, name: str | None = None
) -> Tensor:
    """A tensor of a value, repeated in `shape` where that is given; `name` has no effect."""
    tensor = to_tensor(value, dtype or floatx())
    return tensor if shape is None else torch.broadcast_to(tensor, tuple(shape)).clone()


def get_value(x: Any) -> Any:
    """The values as an array; of a learning rate the number."""
    return float(x) if isinstance(x, float) else ops.convert_to_numpy(x)


def set_value(x: Any, value: Any) -> None:
    """Change a tensor's values, or the learning rate of a compiled model's optimizer.

    >>> weight = variable(1.0)
    >>> set_value(weight, 2.0)
    >>> float(get_value(weight))
    2.0
    """
    if isinstance(x, LearningRate):
        x.assign(float(value))
    elif isinstance(x, Tensor):
        with torch.no_grad():
            x.copy_(to_tensor(value).to(x.device).reshape(x.shape))
    else:
        way_out = "set it as an attribute, as in model.optimizer.learning_rate = 0.01"
        raise errors.type_error("x", "a tensor, or optimizer.learning_rate of a built model", x, way_out)


def batch_get_value(tensors: Iterable[Any]) -> list[Any]:
    """`get_value` of each."""
    return [get_value(tensor) for tensor in tensors]


def batch_set_value(tuples: Iterable[tuple[Any, Any]]) -> None:
    """`set_value` of each pair of a tensor and its values."""
    for tensor, value in tuples:
        set_value(tensor, value)


def update(x: Tensor, new_x: Any) -> Tensor:
    """The tensor after `set_value(x, new_x)`."""
    set_value(x, new_x)
    return x


def update_add(x: Tensor, increment: Any) -> Tensor:
    """The tensor with the increment added in place."""
    return update(x, ops.add(x.detach(), increment))


def update_sub(x: Tensor, decrement: Any) -> Tensor:
    """The tensor with the decrement taken off in place."""
    return update(x, ops.subtract(x.detach(), decrement))


def moving_average_update(x: Tensor, value: Any, momentum: float) -> Tensor:
    """The tensor moved in place to momentum * x + (1 - momentum) * value."""
    return update(x, x.detach() * momentum + to_tensor(value).to(x) * (1.0 - momentum))


# Tensors of a shape.


def zeros(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros; `name` has no effect."""
    return ops.zeros(shape, dtype)


def ones(shape: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones; `name` has no effect."""
    return ops.ones(shape, dtype)


def zeros_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Zeros of the shape of x; `name` has no effect."""
    return ops.zeros_like(x, dtype)


def ones_like(x: Any, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones of the shape of x; `name` has no effect."""
    return ops.ones_like(x, dtype)


def eye(size: int, dtype: Any = None, name: str | None = None) -> Tensor:
    """Ones on the diagonal of zeros (size, size); `name` has no effect."""
    return ops.eye(size, dtype=dtype)


def arange(start: Any, stop: Any = None, step: Any = 1, dtype: Any = "int32") -> Tensor:
    """start, start + step, ... before stop; with one number from 0 to before it."""
    return ops.arange(start, stop, step, dtype)


def random_normal(
    shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """Numbers drawn from a normal distribution; a seed gives the same ones at each call."""
    drawn = torch.randn(tuple(shape), generator=_generator(seed))
    return (drawn * stddev + mean).to(dtype_named(dtype or floatx()))


def random_uniform(
    shape: Sequence[int],
    minval: float = 0.0,
    maxval: float = 1.0,
    dtype: Any = None,
    seed: int | None = None,
) -> Tensor:
    """Numbers drawn from [minval, maxval) evenly; a seed gives the same ones at each call."""
    drawn = torch.rand(tuple(shape), generator=_generator(seed))
    return (drawn * (maxval - minval) + minval).to(dtype_named(dtype or floatx()))


def random_bernoulli(
    shape: Sequence[int], p: float = 0.0, dtype: Any = None, seed: int | None = None
) -> Tensor:
    """1 with the probability p, else 0; a seed gives the same ones at each call."""
    return (random_uniform(shape, seed=seed) < p).to(dtype_named(dtype or floatx()))


def _generator(seed: int | None) -> torch.Generator | None:
    return None if seed is None else torch.Generator().manual_seed(seed)


def dropout(
    x: Any, level: float, noise_shape: Sequence[int] | None = None, seed: int | None = None
) -> Tensor:
    """x with the share `level` set to 0 and the rest scaled up; noise_shape: 1 where one draw acts on all."""
    share = errors.check_fraction("level", level, below_one=True)
    tensor = to_float(x)
    sizes = tensor.shape if noise_shape is None else noise_shape
    kept = torch.rand(tuple(sizes), generator=_generator(seed)).to(tensor.device) >= share
    return tensor * kept.to(tensor.dtype) / (1.0 - share)


# Older names and arguments.


def sqrt(x: Any) -> Any:
    """The square root, 0 of negative numbers."""
    return ops.sqrt(ops.maximum(x, 0.0))


def pow(x: Any, a: Any) -> Any:
    """x to the power of a."""
    return ops.power(x, a)


def clip(x: Any, min_value: Any, max_value: Any) -> Any:
    """x, no less than min_value and no more than max_value; None: without this limit."""
    return ops.clip(x, min_value, max_value)


def argmax(x: Any, axis: int = -1) -> Any:
    """The index of the largest value along the axis."""
    return ops.argmax(x, axis)


def argmin(x: Any, axis: int = -1) -> Any:
    """The index of the least value along the axis."""
    return ops.argmin(x, axis)


def cumsum(x: Any, axis: int = 0) -> Any:
    """The sums of the values up to each along the axis."""
    return ops.cumsum(x, axis)


def cumprod(x: Any, axis: int = 0) -> Any:
    """The products of the values up to each along the axis."""
    return ops.cumprod(x, axis)


def dot(x: Any, y: Any) -> Any:
    """The sum of products over the last dimension of x and the last but one of y."""
    return ops.dot(x, y)


def batch_dot(x: Any, y: Any, axes: int | Sequence[int] | None = None) -> Any:
    """The sum of products over one dimension of each row of x and of y, (B, ...) and (B, ...) -> (B, ...).

    Args:
        x, y: tensors of at least two dimensions; a result of one dimension gets a second one of size 1.
        axes: the dimension of x and that of y, or one for both; None: the last of x, the last but one of y.

    >>> batch_dot(torch.ones(2, 3), torch.ones(2, 3), axes=1)
    tensor([[3.],
            [3.]])
    """
    first, second = ops.ndim(x), ops.ndim(y)
    if axes is None:
        axes = (first - 1, 1 if second == 2 else second - 2)
    pair = (axes, axes) if isinstance(axes, int) else tuple(axes)
    i, j = pair[0] % first, pair[1] % second
    letters = "abcdefghijklmnopqrstuvw"
    left = [*letters[1:first]]
    right = [*letters[first : first + second - 1]]
    left[i - 1] = right[j - 1] = "z"
    result = [letter for letter in [*left, *right] if letter != "z"]
    equation = f"a{''.join(left)},a{''.join(right)}->a{''.join(result)}"
    product = ops.einsum(equation, x, y)
    return product if result else ops.expand_dims(product, -1)


def concatenate(tensors: Sequence[Any], axis: int = -1) -> Any:
    """The tensors joined along an existing axis."""
    return ops.concatenate(tensors, axis)


def reshape(x: Any, shape: Sequence[int]) -> Any:
    """The same values in another shape."""
    return ops.reshape(x, shape)


def expand_dims(x: Any, axis: int = -1) -> Any:
    """A dimension of 1 more."""
    return ops.expand_dims(x, axis)


def flatten(x: Any) -> Any:
    """The values in one dimension."""
    return ops.reshape(x, (-1,))


def batch_flatten(x: Any) -> Any:
    """The values of each row in one dimension, (B, ...) -> (B, D)."""
    return ops.reshape(x, (None, -1))


def permute_dimensions(x: Any, pattern: Sequence[int]) -> Any:
    """The dimensions in another order."""
    return ops.transpose(x, pattern)


def repeat(x: Any, n: int) -> Any:
    """Each row n times as steps, (B, D) -> (B, n, D)."""
    return ops.repeat(ops.expand_dims(x, 1), n, 1)


def repeat_elements(x: Any, rep: int, axis: int) -> Any:
    """Each value `rep` times along the axis."""
    return ops.repeat(x, rep, axis)


def reverse(x: Any, axes: int | Sequence[int]) -> Any:
    """The order reversed along the axes."""
    return ops.flip(x, axes)


def gather(reference: Any, indices: Any) -> Any:
    """The rows of the reference at the indices."""
    return ops.take(reference, indices, 0)


def temporal_padding(x: Any, padding: tuple[int, int] = (1, 1)) -> Any:
    """Zero steps at the start and the end, (B, T, I) -> (B, T + sum(padding), I)."""
    return ops.pad(x, ((0, 0), tuple(padding), (0, 0)))


def l2_normalize(x: Any, axis: int | None = None) -> Any:
    """x divided by its norm over the axis; None: over all."""
    squares = ops.sum(ops.square(x), axis, keepdims=True)
    return ops.multiply(x, ops.rsqrt(ops.maximum(squares, 1e-12)))


def in_top_k(predictions: Any, targets: Any, k: int) -> Any:
    """Whether the score of each target (B,) is among the k largest of its row of predictions (B, V)."""
    return ops.in_top_k(targets, predictions, k)


def relu(x: Any, alpha: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Any:
    """x where it is above the threshold, alpha * (x - threshold) elsewhere, at most max_value."""
    return activations.relu(x, alpha, max_value, threshold)


def bias_add(x: Any, bias: Any, data_format: str | None = None) -> Any:
    """x plus a bias along the last dimension."""
    if data_format not in (None, "channels_last"):
        way_out = "move the channels to the last dimension"
        raise errors.value_error("data_format", "'channels_last'", repr(data_format), way_out)
    return ops.add(x, bias)


def batch_normalization(
    x: Any, mean: Any, var: Any, beta: Any, gamma: Any, axis: int = -1, epsilon: float = 1e-3
) -> Any:
    """(x - mean) / sqrt(var + epsilon) * gamma + beta along the axis."""
    return ops.batch_normalization(x, mean, var, axis, beta, gamma, epsilon)


def switch(
    condition: Any, then_expression: Any | Callable[[], Any], else_expression: Any | Callable[[], Any]
) -> Any:
    """The first expression where the condition is true, else the second; tensors, or functions of nothing.

    A condition of fewer dimensions than the expressions decides on their first ones.
    """
    chosen, other = (
        part() if callable(part) and not isinstance(part, (Tensor, KerasTensor)) else part
        for part in (then_expression, else_expression)
    )
    for _ in range(ops.ndim(chosen) - ops.ndim(condition) if ops.ndim(condition) else 0):
        condition = ops.expand_dims(condition, -1)
    return ops.where(condition, chosen, other)


def map_fn(fn: Callable[[Any], Any], elems: Any, name: str | None = None, dtype: Any = None) -> Any:
    """The function of each row in one tensor, in `dtype` where it is given; `name` has no effect."""
    result = ops.map(fn, elems)
    return result if dtype is None else ops.cast(result, dtype)


# A function of Keras' backend that is not here -> what to use instead.
INSTEAD: dict[str, str] = {
    "gradients": "torch.autograd.grad(loss, tensors)",
    "function": "longspan.Model(inputs, outputs), called on arrays",
    "learning_phase": "the training argument of Layer.call, or model.training",
    "set_learning_phase": "model.train() or model.eval()",
    "learning_phase_scope": "model.train() or model.eval()",
    "in_train_phase": "the training argument of Layer.call",
    "in_test_phase": "the training argument of Layer.call",
    "get_session": "nothing, torch computes at once",
    "set_session": "nothing, torch computes at once",
    "tf": "torch",
    "rnn": "longspan.layers.RNN(cell)",
    "foldl": "ops.scan",
    "foldr": "ops.scan(reverse=True)",
    "print_tensor": "print",
    "placeholder": "longspan.Input",
    "is_sparse": "Tensor.is_sparse",
    "to_dense": "Tensor.to_dense",
    "get_uid": "the name argument of the layers",
    "reset_uids": "clear_session",
    "manual_variable_initialization": "nothing, weights are drawn when a layer is built",
    "binary_focal_crossentropy": "longspan.losses.binary_focal_crossentropy",
    "categorical_focal_crossentropy": "longspan.losses.categorical_focal_crossentropy",
    "truncated_normal": "longspan.initializers.TruncatedNormal",
    "random_normal_variable": "variable(random_normal(shape))",
    "random_uniform_variable": "variable(random_uniform(shape))",
    "ctc_batch_cost": "ops.ctc_loss",
    "ctc_label_dense_to_sparse": "ops.ctc_loss, which takes dense labels",
    "ctc_decode": "SpeechRecognizer, which decodes",
    "local_conv1d": "longspan.layers.Conv1D",
    "local_conv2d": "longspan.layers.Conv2D",
    "pool2d": "ops.max_pool or ops.average_pool",
    "pool3d": "ops.max_pool or ops.average_pool",
    "resize_images": "longspan.layers.UpSampling2D",
    "resize_volumes": "longspan.layers.UpSampling3D",
    "spatial_2d_padding": "ops.pad",
    "spatial_3d_padding": "ops.pad",
    "depthwise_conv2d": "ops.depthwise_conv",
    "separable_conv2d": "ops.separable_conv",
    "conv2d_transpose": "ops.conv_transpose",
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), "ops.conv"),
}


def __getattr__(name: str) -> Any:
    """A sentence for a name of Keras' backend that is not here, or the nearest name that is."""
    if name.startswith("__"):
        raise AttributeError(name)
    if name in INSTEAD:
        received, way_out = f"Keras' {name}, which is not there", f"use {INSTEAD[name]}"
    else:
        received, way_out = repr(name), errors.did_you_mean(name, [*globals()])
    raise AttributeError(errors.message("longspan.backend", "one of its functions", received, way_out))
