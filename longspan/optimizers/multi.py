"""Steps the weights of one model by several optimizers, which their names choose."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from longspan import errors

from .base import KerasOptimizer, OptimizerConfig


@dataclass(frozen=True)
class NamedWeight:
    """A weight of a model, as a function that chooses its optimizer sees it.

    Args:
        path: the names of its layer and its own, such as "dense/kernel".
        shape: that of the tensor that holds its values.
    """

    path: str
    shape: tuple[int, ...]


class OptimizerMap(MutableMapping[str, OptimizerConfig]):
    """Optimizers by the names of weights: keras.optimizers.OptimizerMap.

    A key is a name, such as "dense/kernel", or a pattern of re that the whole name has to match.

    Args:
        default_optimizer: of the weights that no key matches.
        optimizer_map: key -> optimizer.

    >>> from longspan.optimizers import SGD, Adam
    >>> optimizers = OptimizerMap(Adam(), {"dense/.*": SGD(0.1)})
    >>> optimizers["dense/kernel"].name, optimizers["lstm/kernel"].name
    ('SGD', 'adam')
    """

    def __init__(
        self, default_optimizer: OptimizerConfig, optimizer_map: Mapping[str, OptimizerConfig] | None = None
    ) -> None:
        self.default_optimizer = _checked("default_optimizer", default_optimizer)
        self._optimizers: dict[str, OptimizerConfig] = {}
        if optimizer_map is not None and not isinstance(optimizer_map, Mapping):
            way_out = "such as {'dense/.*': SGD()}"
            raise errors.type_error("optimizer_map", "a dict by names", optimizer_map, way_out)
        for key, optimizer in (optimizer_map or {}).items():
            self[key] = optimizer

    def __getitem__(self, key: str) -> OptimizerConfig:
        """The optimizer of a name; the default one where no key matches.

        Raises:
            ValueError: more than one pattern matches.
        """
        if key in self._optimizers:
            return self._optimizers[key]
        matching = [pattern for pattern in self._optimizers if re.fullmatch(pattern, key)]
        if len(matching) > 1:
            expected, way_out = f"one pattern for {key}", "make the patterns narrower"
            raise errors.value_error("optimizer_map", expected, ", ".join(matching), way_out)
        return self._optimizers[matching[0]] if matching else self.default_optimizer

    def __setitem__(self, key: str, optimizer: OptimizerConfig) -> None:
        if not isinstance(key, str):
            raise errors.value_error("key", "a name or a pattern of names", key, "such as 'dense/.*'")
        if key in self._optimizers:
            raise errors.value_error("key", "a new one", repr(key), "delete it before")
        self._optimizers[key] = _checked("optimizer", optimizer)

    def __delitem__(self, key: str) -> None:
        del self._optimizers[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._optimizers)

    def __len__(self) -> int:
        return len(self._optimizers)

    def __call__(self, variable: Any) -> OptimizerConfig:
        """The optimizer of a variable, by its path."""
        return self[variable.path]


def _checked(argument: str, optimizer: Any) -> OptimizerConfig:
    """The optimizer, or an error for what is none, or one of several itself."""
    if not isinstance(optimizer, OptimizerConfig):
        raise errors.type_error(argument, "an optimizer of longspan", optimizer, "such as SGD()")
    if isinstance(optimizer, MultiOptimizer):
        way_out = "put its optimizers into the map"
        raise errors.value_error(argument, "an optimizer of one kind", "a MultiOptimizer", way_out)
    return optimizer


class MultiStepper(KerasOptimizer):
    """The optimizers of a model's weights as one, with all their groups and states.

    Attributes:
        optimizers: those that have weights.
    """

    def __init__(self, parts: Sequence[KerasOptimizer], config: MultiOptimizer) -> None:
        super().__init__([], config)
        self.optimizers = list(parts)
        self.param_groups = [group for part in parts for group in part.param_groups] or self.param_groups
        for part in parts:
            self.state.update(part.state)
            part.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what `state_dict` gives, for every optimizer its part."""
        KerasOptimizer.load_state_dict(self, state_dict)
        start = 0
        for part in self.optimizers:
            end = start + len(part.param_groups)
            part.param_groups, part.state = self.param_groups[start:end], self.state
            start = end

    @property
    def iterations(self) -> int:
        return max((part.iterations for part in self.optimizers), default=0)

    @property
    def learning_rate(self) -> NoReturn:
        """Each optimizer has its own: an error."""
        raise _no_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> NoReturn:
        raise _no_rate()

    @property
    def variables(self) -> list[Tensor]:
        return [
            torch.tensor(self.iterations),
            *(value for part in self.optimizers for value in part.variables),
        ]

    def fused_step(self) -> None:
        for part in self.optimizers:
            part.fused_step()
        for project in self.projections:
            project()

    def finalize_variable_values(self, trainable_variables: Any = None) -> None:
        for part in self.optimizers:
            part.finalize_variable_values(trainable_variables)

    def set_weights(self, weights: Sequence[Any]) -> None:
        rest = list(weights[1:])
        for part in self.optimizers:
            part.set_weights(rest[: len(part.variables)])
            rest = rest[len(part.variables) :]


class MultiOptimizer(OptimizerConfig):
    """Several optimizers for the weights of one model: keras.optimizers.MultiOptimizer.

    Args:
        optimizer_map: an `OptimizerMap`, or a function that returns the optimizer of a variable, which has a
            `path`, such as "dense/kernel". Weights with the same optimizer are stepped together.
        loss_scale_factor: as for every optimizer; those of the optimizers inside do not act.
        name: of the optimizer.

    >>> from longspan.optimizers import SGD, Adam
    >>> from longspan.variables import Variable
    >>> first, second = Variable([1.0], name="first"), Variable([1.0], name="second")
    >>> optimizer = MultiOptimizer(OptimizerMap(SGD(0.5), {"second": SGD(0.1)}))
    >>> optimizer.apply([[1.0], [1.0]], [first, second]), first.tolist()
    (1, [0.5])
    """

    stepper = MultiStepper

    def __init__(
        self,
        optimizer_map: OptimizerMap | Callable[[Any], OptimizerConfig],
        loss_scale_factor: float | None = None,
        name: str = "multi_optimizer",
    ) -> None:
        super().__init__(0.0, None, None, None, None, name, loss_scale_factor=loss_scale_factor)
        if not callable(optimizer_map):
            expected = "an OptimizerMap, or a function of a variable"
            raise errors.type_error("optimizer_map", expected, optimizer_map, "OptimizerMap(SGD(), {...})")
        self.optimizer_map = optimizer_map
        known = []
        if isinstance(optimizer_map, OptimizerMap):
            known = [*optimizer_map.values(), optimizer_map.default_optimizer]
        self.optimizers: list[OptimizerConfig] = list(
            {id(optimizer): optimizer for optimizer in known}.values()
        )

    def build(self, parameters: Iterable[Any], paths: Mapping[int, str] | None = None) -> KerasOptimizer:
        self._paths = dict(paths or {})
        chosen: dict[int, list[Any]] = {id(optimizer): [] for optimizer in self.optimizers}
        for parameter in parameters:
            named = NamedWeight(self.path_of(parameter), tuple(parameter.shape))
            optimizer = _checked("optimizer_map", self.optimizer_map(named))
            if id(optimizer) not in chosen:
                self.optimizers.append(optimizer)
            chosen.setdefault(id(optimizer), []).append(parameter)
        parts = [
            optimizer.build(chosen[id(optimizer)], paths)
            for optimizer in self.optimizers
            if chosen[id(optimizer)]
        ]
        self._own = MultiStepper(parts, self)
        return self._own

    @property
    def learning_rate(self) -> Any:
        """Each optimizer has its own: an error."""
        raise _no_rate()

    @learning_rate.setter
    def learning_rate(self, value: Any) -> None:
        if value != 0.0:
            raise _no_rate()
        self._learning_rate = 0.0

    @property
    def variables(self) -> list[Tensor]:
        """The number of steps, then the variables of every optimizer."""
        inner = [value for optimizer in self.optimizers for value in optimizer.variables]
        return [torch.tensor(self.iterations), *inner] if self._own is None else self._own.variables

    def get_config(self) -> dict[str, Any]:
        """The options; the OptimizerMap has its optimizers in it."""
        return {
            "optimizer_map": self.optimizer_map,
            "loss_scale_factor": self.loss_scale_factor,
            "name": self.name,
        }


def _no_rate() -> AttributeError:
    expected, way_out = "the rate of one of its optimizers", "see optimizer.optimizers"
    return AttributeError(errors.message("learning_rate", expected, "that of a MultiOptimizer", way_out))
