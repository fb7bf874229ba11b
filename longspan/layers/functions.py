"""Layers of a function: Lambda, and operators and functions of torch on symbolic tensors."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch.overrides import get_overridable_functions, resolve_name
from typing_extensions import Unpack

from longspan import errors
from longspan.ops.calling import FUNCTIONS, PREFIX

from .base import Layer, LayerOptions
from .naming import snake_case, unique_name
from .structure import is_shape
from .symbolic import trial_output


def _get_item(x: Any, key: Any) -> Any:
    """x[key], where a key of several dimensions may be a list, as it is in Keras' files."""
    return x[tuple(key) if isinstance(key, list) else key]


# Name of an operator on symbolic tensors -> the function of tensors.
OPERATORS: dict[str, Callable[..., Any]] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "matmul": operator.matmul,
    "power": operator.pow,
    "negative": operator.neg,
    "absolute": operator.abs,
    "get_item": _get_item,
    "not_equal": operator.ne,
    "greater": operator.gt,
    "greater_equal": operator.ge,
    "less": operator.lt,
    "less_equal": operator.le,
    "logical_or": torch.logical_or,
    "logical_and": torch.logical_and,
}


# Class name in Keras' ops -> the name in OPERATORS.
KERAS_OPERATIONS = {
    "Add": "add",
    "Subtract": "subtract",
    "Multiply": "multiply",
    "Divide": "divide",
    "TrueDivide": "divide",
    "Matmul": "matmul",
    "Power": "power",
    "Negative": "negative",
    "Absolute": "absolute",
    "GetItem": "get_item",
    "NotEqual": "not_equal",
    "Greater": "greater",
    "GreaterEqual": "greater_equal",
    "Less": "less",
    "LessEqual": "less_equal",
    "LogicalOr": "logical_or",
    "LogicalAnd": "logical_and",
}


# Class name in Keras' ops -> the name of its function, where that is not the class name in lower case.
_KERAS_FUNCTIONS = {
    "BatchNorm": "batch_normalization",
    "LayerNorm": "layer_normalization",
    "RMSNorm": "rms_normalization",
    "SVD": "svd",
}


def keras_operation(class_name: str, config: Mapping[str, Any]) -> Operation:
    """The layer for an operation in a file of Keras, with the options that the file has for it.

    Raises:
        ValueError: `longspan.ops` has no such function, or it has no such option.
    """
    if class_name in KERAS_OPERATIONS:
        return Operation(KERAS_OPERATIONS[class_name], name=config.get("name"))
    name = _KERAS_FUNCTIONS.get(class_name, snake_case(class_name))
    if name not in FUNCTIONS:
        way_out = "replace it in Keras before saving"
        raise errors.value_error("operation", "one that longspan.ops has", repr(class_name), way_out)
    parameters = inspect.signature(FUNCTIONS[name]).parameters
    options = {key: value for key, value in config.items() if key != "name" and value is not None}
    for key in [key for key in options if key not in parameters]:
        if options.pop(key) is not False:
            errors.check_choice(f"option of {class_name}", key, parameters)
    return Operation(PREFIX + name, options, name=config.get("name"))


class Lambda(Layer):
    """A function of tensors as a layer: keras.layers.Lambda.

    Args:
        function: takes the inputs, and mask or training where it has arguments of these names.
        output_shape: the shape of one row of the output, without the batch, or a function from the input's
            shape to the output's; None: found by a call on zeros.
        mask: the mask of the output, or a function (inputs, mask) -> mask; None: no mask.
        arguments: further keyword arguments of the function.

    A file cannot hold the function: load such a model with custom_objects={name of the layer: function}, or
    with {name of the function: function} where it has a name.

    >>> Lambda(lambda x: x * 2)(torch.ones(1, 2))
    tensor([[2., 2.]])
    """

    ends_mask = True

    def __init__(
        self,
        function: Callable[..., Any],
        output_shape: Sequence[int | None] | Callable[..., Any] | None = None,
        mask: Any = None,
        arguments: Mapping[str, Any] | None = None,
        **shared: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**shared)
        if not callable(function):
            raise errors.type_error("function", "a function of a tensor", function, "pass lambda x: x * 2")
        self.function, self._row_shape, self._mask = function, output_shape, mask
        self.arguments = dict(arguments or {})
        self._names = set(inspect.signature(function).parameters)
        self.built = True
        self.supports_masking = mask is not None

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], custom_objects: Any = None, safe_mode: bool | None = None
    ) -> Layer:
        """The layer that `get_config` described.

        Args:
            config: the options, the function itself among them.
            custom_objects: accepted without effect, the config has the function.
            safe_mode: False takes a lambda, which is refused otherwise, as in Keras.
        """
        if safe_mode is not False and getattr(config["function"], "__name__", "") == "<lambda>":
            way_out = "pass safe_mode=False if you trust the config"
            raise errors.value_error("function", "a function with a name", "a lambda", way_out)
        return cls(**config)

    def call(self, x: Any, mask: Any = None) -> Any:
        passed = {"mask": mask, "training": self.training}
        return self.function(
            x, **self.arguments, **{name: passed[name] for name in passed if name in self._names}
        )

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        return self._mask(x, mask) if callable(self._mask) else self._mask

    def compute_output_shape(self, input_shape: Any) -> Any:
        if callable(self._row_shape):
            return self._row_shape(input_shape)
        if self._row_shape is not None:
            return (input_shape[0] if is_shape(input_shape) else None, *self._row_shape)
        return self.trial_shape(input_shape)


class Operation(Layer):
    """A function by its name on any arguments: what an operator on symbolic tensors becomes in a model.

    Args:
        operation: a name in OPERATORS, or the name of a function of torch, such as "torch.cat", or of
            `longspan.ops`, such as "ops.mean".
        arguments: further keyword arguments of the function.

    Raises:
        ValueError: there is no such function.

    >>> Operation("add")(torch.ones(1), 2)
    tensor([3.])
    """

    def __init__(
        self, operation: str, arguments: Mapping[str, Any] | None = None, **shared: Unpack[LayerOptions]
    ) -> None:
        super().__init__(
            **{**shared, "name": shared.get("name") or unique_name(operation.rpartition(".")[2])}
        )
        self.operation, self.arguments = operation, dict(arguments or {})
        _function_named(operation)
        self.built = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The function's result."""
        return _function_named(self.operation)(*args, **self.arguments, **kwargs)

    def call(self, x: Any, mask: Any = None) -> Any:
        return self.forward(x)

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        return trial_output(self.forward, args, kwargs)


def _function_named(name: str) -> Callable[..., Any]:
    """Only functions of ops and those that torch lets others override: none reads files or runs programs."""
    own = FUNCTIONS.get(name.removeprefix(PREFIX)) if name.startswith(PREFIX) else None
    function = own or OPERATORS.get(name) or _torch_functions().get(name)
    if function is None:
        way_out = "wrap your function in Lambda"
        raise errors.value_error("operation", "an operator or a function of torch on tensors", name, way_out)
    return function


@cache
def _torch_functions() -> dict[str, Callable[..., Any]]:
    """The functions of torch on tensors by their full names."""
    functions = [function for group in get_overridable_functions().values() for function in group]
    named = {resolve_name(function): function for function in functions}
    return {name: function for name, function in named.items() if name is not None}
