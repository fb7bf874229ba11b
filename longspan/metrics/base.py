"""Defines what a metric is: sums over batches, kept in float64, and a result made from them."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor

from longspan import errors, initializers
from longspan.initializers import InitializerLike
from longspan.losses import as_tensor, match_ranks
from longspan.ops.calling import dtype_name, dtype_named
from longspan.registry import Configured, snake_case
from longspan.variables import Variable

Accumulator = float | Tensor  # 0.0 until the first tensor decides the device


def total_of(values: Tensor, *dims: int) -> Tensor:
    """The sum over the dimensions, in float64."""
    wide = values.dtype if values.device.type == "mps" else torch.float64  # MPS has no float64
    return values.sum(dims or None, dtype=wide)


def safe_ratio(numerator: Accumulator, denominator: Accumulator) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0."""
    numerator, denominator = torch.as_tensor(numerator), torch.as_tensor(denominator)
    return torch.where(denominator == 0, 0.0, numerator / torch.where(denominator == 0, 1.0, denominator))


class Metric(Configured, abc.ABC):
    """A number made from sums over batches. Abstract: subclasses define `update_state` and `result`.

    A metric of your own keeps its numbers in variables:

        class Largest(Metric):
            def __init__(self, name="largest", **options):
                super().__init__(name=name, **options)
                self.error = self.add_variable(shape=(), initializer="zeros", name="error")

            def update_state(self, y_true, y_pred, sample_weight=None):
                self.error.assign(torch.maximum(self.error, (y_true - y_pred).abs().max()))

            def result(self):
                return self.error

    Attributes:
        name: its key in logs and History; None in the constructor for the class's name in snake case.
        dtype: the name of the variables' dtype; given to the constructor, the result has it too.
        direction: "up" where more is better, "down" where less is, None where it is unknown.
        sums: the sums so far by name; subclasses of this library name their sums in `__init__`.
        variables: the variables in the order in which they were added.
    """

    def __init_subclass__(cls) -> None:
        if "update_state" in cls.__dict__:
            cls.update_state = _taking_arrays(cls.update_state)
        if "result" in cls.__dict__:
            cls.result = _in_dtype(cls.result)

    def __init__(
        self, name: str | None = None, direction: str | None = None, *sums: str, dtype: Any = None
    ) -> None:
        self.name, self.direction = name or snake_case(type(self).__name__), direction
        self.sums: dict[str, Accumulator] = dict.fromkeys(sums, 0.0)
        self.variable_dtype = torch.float32 if dtype is None else dtype_named(dtype)
        self.result_dtype = None if dtype is None else self.variable_dtype
        self._dtype = dtype_name(self.variable_dtype)
        self._own: dict[str, Variable] = {}

    def add_variable(
        self,
        shape: Sequence[int] = (),
        initializer: InitializerLike = "zeros",
        dtype: Any = None,
        aggregation: str = "sum",
        name: str | None = None,
    ) -> Variable:
        """A variable that `reset_state` sets back to zeros; several processes add theirs up.

        Args:
            dtype: None for that of the metric; aggregation: "sum", the only one.
        """
        errors.check_choice("aggregation", aggregation, ("sum",))
        start = initializers.get(initializer)(tuple(shape))
        variable = Variable(
            start, dtype=self.variable_dtype if dtype is None else dtype, trainable=False, name=name
        )
        self._own[f"{name or 'variable'}_{len(self._own)}"] = variable
        return variable

    def add_weight(
        self,
        shape: Sequence[int] = (),
        initializer: InitializerLike = "zeros",
        dtype: Any = None,
        name: str | None = None,
    ) -> Variable:
        """`add_variable` by Keras' other name."""
        return self.add_variable(shape, initializer, dtype, name=name)

    @property
    def dtype(self) -> str:
        """The dtype of variables and, where one was passed, of the result."""
        return self._dtype

    def __getattr__(self, name: str) -> Any:
        """A sum by its name, as a tensor: metric.true_positives."""
        sums = self.__dict__.get("sums", {})
        if name not in sums:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return torch.as_tensor(sums[name])

    @property
    def variables(self) -> list[Tensor]:
        """The sums, the variables in the order in which they were added, those of metrics in attributes."""
        sums = [Variable(value, trainable=False, name=name) for name, value in self.sums.items()]
        parts = self._parts().values()
        inner = [
            value for part in parts for value in (part.variables if isinstance(part, Metric) else [part])
        ]
        return [*sums, *self._own.values(), *inner]

    def _parts(self) -> dict[str, Metric | Variable]:
        """The metrics and variables that are attributes, also in lists and dicts, but add_variable's."""
        known = {id(variable) for variable in self._own.values()}
        return {
            f"{name}_{index}": part
            for name, value in self.__dict__.items()
            if not name.startswith("_")
            for index, part in enumerate(_flat(value))
            if isinstance(part, (Metric, Variable)) and id(part) not in known
        }

    @abc.abstractmethod
    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch: truths, predictions, and how much each row (B,) or step (B, T) counts.

        Tensors, arrays or lists; a subclass gets tensors.
        """

    @abc.abstractmethod
    def result(self) -> Tensor:
        """The metric of everything added since the last reset, without dimensions for a single number."""

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:
        """Add a batch and give the result so far."""
        self.update_state(y_true, y_pred, sample_weight)
        return self.result()

    def reset_state(self) -> None:
        """Start afresh."""
        self.sums = dict.fromkeys(self.sums, 0.0)
        for part in (*self._own.values(), *self._parts().values()):
            if isinstance(part, Metric):
                part.reset_state()
            else:
                part.assign(torch.zeros_like(part))

    def state(self) -> dict[str, Any]:
        """Copies of the sums and variables by name, for checkpoints; several processes add them up."""
        state: dict[str, Any] = dict(self.sums)
        for name, part in {**self._own, **self._parts()}.items():
            if isinstance(part, Metric):
                state |= {f"{name}/{key}": value for key, value in part.state().items()}
            else:
                state[name] = part.value.clone()
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave."""
        self.sums = {name: state[name] for name in self.sums}
        for name, part in {**self._own, **self._parts()}.items():
            if isinstance(part, Metric):
                start = f"{name}/"
                part.restore({k.removeprefix(start): v for k, v in state.items() if k.startswith(start)})
            else:
                part.assign(state[name])

    def add(self, **amounts: Accumulator) -> None:
        """Add to the sums by name."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums[name] + amount


def _flat(value: Any) -> list[Any]:
    """What lists, tuples and dicts hold, in order; any other value itself."""
    if isinstance(value, (list, tuple, dict)):
        return [
            part for inner in (value.values() if isinstance(value, dict) else value) for part in _flat(inner)
        ]
    return [value]


def _taking_arrays(update: Callable[..., None]) -> Callable[..., None]:
    """`update_state` for tensors, which takes arrays and lists too."""

    @wraps(update)
    def update_from_arrays(self: Any, *args: Any, **kwargs: Any) -> None:
        update(
            self,
            *[value if value is None else as_tensor(value) for value in args],
            **{name: value if value is None else as_tensor(value) for name, value in kwargs.items()},
        )

    return update_from_arrays


def _in_dtype(result: Callable[..., Any]) -> Callable[..., Any]:
    """`result` in the dtype that the metric's constructor was given."""

    @wraps(result)
    def result_in_dtype(self: Any) -> Any:
        value = result(self)
        wanted = self.result_dtype
        return value if wanted is None or not isinstance(value, Tensor) else value.to(wanted)

    return result_in_dtype


def mean_parts(values: Tensor, weight: Tensor | None) -> dict[str, Accumulator]:
    """What a batch adds to a mean's total and count; every row counts once, as in Keras."""
    values = values if values.is_floating_point() else values.double()
    if weight is None:
        rows = values.shape[0] if values.dim() else 1
        return {"total": total_of(values) * (rows / max(values.numel(), 1)), "count": float(rows)}
    values, weight = match_ranks(values, weight.to(values.dtype))
    if values.dim() > weight.dim():
        values = values.mean(tuple(range(weight.dim(), values.dim())))
    weight = weight.expand_as(values)
    per_row = max(values[0].numel(), 1) if values.dim() else 1
    return {"total": total_of(values * weight) / per_row, "count": total_of(weight) / per_row}


def weights_like(y_pred: Tensor, weight: Tensor) -> Tensor:
    y_pred, weight = match_ranks(y_pred, weight)
    while weight.dim() < y_pred.dim():
        weight = weight.unsqueeze(-1)
    return weight.expand_as(y_pred)
