"""Steps of an optimizer that a training loop of one's own takes: apply, apply_gradients."""

from __future__ import annotations

import abc
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from longspan import errors
from longspan.ops.calling import to_tensor
from longspan.variables import VariableBase


class Stepping(Protocol):
    """An optimizer of torch with its steps counted, as `apply` needs it."""

    param_groups: list[dict[str, Any]]

    @property
    def iterations(self) -> int: ...
    @property
    def loss_scale_factor(self) -> float | None: ...
    @property
    def has_schedule(self) -> bool: ...
    @property
    def learning_rate(self) -> Any: ...
    @learning_rate.setter
    def learning_rate(self, value: Any) -> None: ...
    def fused_step(self) -> None: ...
    def parameters_in_groups(self) -> list[Tensor]: ...
    def state_tensors(self) -> list[Tensor]: ...
    def update(self, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]) -> None: ...


def apply(optimizer: Stepping, grads: Sequence[Any], variables: Sequence[Any] | None) -> int:
    """One step with these gradients; the number of steps so far.

    Raises:
        ValueError: all gradients are None, or their number is another than that of the variables.
    """
    every = optimizer.parameters_in_groups()
    chosen: list[Any] = list(every if variables is None else variables)
    if len(grads) != len(chosen):
        expected = f"{len(chosen)} gradients, one for each variable"
        raise errors.value_error("grads", expected, len(grads), "pass None for a variable without one")
    if all(grad is None for grad in grads):
        raise errors.value_error(
            "grads", "a gradient for a variable", "None for all", "call backward() before"
        )
    if any(grad is None for grad in grads):
        warnings.warn("apply: a variable without a gradient stays as it is.", stacklevel=3)
    for variable in every:
        variable.grad = None
    scale = optimizer.loss_scale_factor or 1.0
    for variable, grad in _by_source(chosen, grads):
        variable.grad = None if grad is None else grad.to(variable) / scale
    optimizer.fused_step()
    for variable in every:
        variable.grad = None
    for variable in chosen:
        if isinstance(variable, VariableBase) and variable.constraint is not None:
            variable.assign(variable.constraint(variable.value.detach()))
    return optimizer.iterations


@torch.no_grad()
def set_weights(optimizer: Stepping, weights: Sequence[Any]) -> None:
    """Set the number of steps, the learning rate and the states, as an optimizer's `variables` gives them.

    Raises:
        ValueError: their number or a shape is another.
    """
    if not optimizer.state_tensors():
        _make_states(optimizer)
    states = optimizer.state_tensors()
    steps, *rest = weights
    rate = None if optimizer.has_schedule or not rest else rest.pop(0)
    shapes = [tuple(to_tensor(value).shape) for value in rest]
    if shapes != [tuple(state.shape) for state in states]:
        expected, way_out = f"{len(states)} states of the variables' shapes", "pass what `variables` gives"
        raise errors.value_error("weights", expected, f"the shapes {shapes}", way_out)
    for group in optimizer.param_groups:
        group["steps"] = int(steps)
    if rate is not None:
        optimizer.learning_rate = float(rate)
    for state, value in zip(states, rest, strict=True):
        state.copy_(to_tensor(value))


def _make_states(optimizer: Stepping) -> None:
    """Make the states, which begin at the first step, by an update that is taken back."""
    for group in optimizer.param_groups:
        params = group["params"]
        before = [param.detach().clone() for param in params]
        optimizer.update(group, params, [torch.zeros_like(param) for param in params])
        for param, values in zip(params, before, strict=True):
            param.copy_(values)


def _by_source(variables: Sequence[Any], grads: Sequence[Any]) -> list[tuple[Any, Any]]:
    """The tensors that hold the variables' values, each with its gradient."""
    pairs: list[tuple[Any, Any]] = []
    for variable, grad in zip(variables, grads, strict=True):
        given = None if grad is None else to_tensor(grad)
        pairs += variable.by_source(given) if isinstance(variable, VariableBase) else [(variable, given)]
    return pairs


class AppliedByHand(abc.ABC):
    """The options of an optimizer that also steps variables of a training loop of one's own. Abstract."""

    weight_decay: float | None
    learning_rate: Any
    loss_scale_factor: float | None

    def __init__(self) -> None:
        self._own: Any = None
        self._undecayed: list[Any] = []
        self._undecayed_names: list[str] = []
        self._paths: dict[int, str] = {}

    @abc.abstractmethod
    def build(self, parameters: Iterable[Any], paths: Mapping[int, str] | None = None) -> Any:
        """The optimizer of these parameters."""

    def scale_loss(self, loss: Any) -> Any:
        """The loss times loss_scale_factor, from which a training loop of your own takes the gradients."""
        return loss if self.loss_scale_factor is None else loss * self.loss_scale_factor

    def path_of(self, variable: Any) -> str:
        """The name of a variable, or of a model's weight, after that of its layer; "" for one without."""
        if id(variable) in self._paths:
            return self._paths[id(variable)]
        return variable.path if isinstance(variable, VariableBase) else ""

    @property
    def built(self) -> bool:
        """Whether it has its variables."""
        return self._own is not None

    @property
    def iterations(self) -> int:
        """The number of steps of the variables that it was built for last."""
        return 0 if self._own is None else self._own.iterations

    @property
    def variables(self) -> list[Tensor]:
        """The number of steps, the learning rate unless a schedule sets it, the state of every variable."""
        if self._own is not None:
            return self._own.variables
        numbers = [0] if callable(self.learning_rate) else [0, float(self.learning_rate)]
        return [torch.tensor(number) for number in numbers]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take what `variables` of an optimizer of the same options and variables gives.

        Raises:
            ValueError: it has no variables yet, or their shapes are others.
        """
        if self._own is None:
            expected, way_out = "an optimizer with variables", "call build(variables) before"
            raise errors.value_error("set_weights", expected, "one without", way_out)
        set_weights(self._own, weights)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable by one gradient: no clipping, no weight decay, and the step does not count.

        Args:
            gradient: of the variable's shape.
            variable: one of those that `build` was called with.
            learning_rate: of this update.
        """
        own: Any = self._own
        groups = [] if own is None else own.param_groups
        for tensor, grad in _by_source([variable], [gradient]):
            group = next((g for g in groups if any(param is tensor for param in g["params"])), None)
            if own is None or group is None or grad is None:
                way_out = "call build([variable]) before"
                raise errors.value_error("variable", "one of build's variables", "another one", way_out)
            with torch.no_grad():
                undecayed = {name: 0.0 for name in group if name.endswith("weight_decay")}
                options = {**group, **undecayed, "lr": float(learning_rate)}
                own.update(options, [tensor], [grad.to(tensor)])

    def exclude_from_weight_decay(
        self, var_list: Sequence[Any] | None = None, var_names: Sequence[str] | None = None
    ) -> None:
        """Leave variables out of weight decay.

        Args:
            var_list: the variables.
            var_names: parts of the names of variables, such as "bias" of "dense/bias".

        Raises:
            ValueError: it has its variables already.
        """
        if self.built:
            way_out = "call it before the first step"
            raise errors.value_error(
                "exclude_from_weight_decay", "a new optimizer", "one with variables", way_out
            )
        self._undecayed += list(var_list or ())
        self._undecayed_names += list(var_names or ())

    def apply_gradients(self, grads_and_vars: Iterable[tuple[Any, Any]]) -> int:
        """One step with pairs of a gradient and its variable; the number of steps so far.

        >>> from longspan.optimizers import SGD
        >>> from longspan.variables import Variable
        >>> weight = Variable([1.0, 2.0])
        >>> SGD(0.5).apply_gradients([([1.0, 1.0], weight)]), weight.tolist()
        (1, [0.5, 1.5])
        """
        pairs = list(grads_and_vars)
        return self.apply([grad for grad, _ in pairs], [variable for _, variable in pairs])

    def apply(self, grads: Sequence[Any], trainable_variables: Sequence[Any] | None = None) -> int:
        """One step of a training loop of your own.

        Args:
            grads: a gradient for each variable, None for one that stays.
            trainable_variables: None for those that `build` was called with.

        Returns:
            The number of steps so far.

        Raises:
            ValueError: all gradients are None, or their number is another than that of the variables.
        """
        if self._own is None:
            if trainable_variables is None:
                expected, way_out = "the variables at the first step", "pass trainable_variables"
                raise errors.value_error("apply", expected, None, way_out)
            self.build(trainable_variables)
        optimizer: Any = self._own
        return apply(optimizer, grads, trainable_variables)

    def groups(self, parameters: Iterable[Any]) -> list[Any]:
        """The parameters, those without weight decay in a group of their own."""
        pieces = list(parameters)
        if pieces and isinstance(pieces[0], dict):
            return pieces
        every = [tensor for tensor, _ in _by_source(pieces, [None] * len(pieces))]
        if not (self._undecayed or self._undecayed_names):
            return every
        spared = [param for param in every if self._is_undecayed(param)]
        rest = [param for param in every if not self._is_undecayed(param)]
        return [{"params": rest}, {"params": spared, "weight_decay": 0.0}]

    def _is_undecayed(self, variable: Any) -> bool:
        if any(variable is other for other in self._undecayed):
            return True
        return any(part in self.path_of(variable) for part in self._undecayed_names)

    def __getstate__(self) -> dict[str, Any]:
        """Copies have no variables: these belong to the model, or to the training loop."""
        return {**self.__dict__, "_own": None, "_paths": {}}
