"""Resolves the arguments of `compile` to losses, weights and metrics for the outputs of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from longspan import errors, losses, metrics
from longspan.layers.structure import flatten, map_structure

from .structures import Path, children, numbered, paths


@dataclass
class OutputTarget:
    """How one output is trained and measured.

    Args:
        name: the output's name, that of its layer.
        loss: None for an output that is not trained.
        weight: by which the loss counts in the sum of all outputs' losses.
        metrics: (metric, whether sample weights count).
    """

    name: str
    loss: losses.Loss | None
    weight: float = 1.0
    metrics: list[tuple[metrics.Metric, bool]] = field(default_factory=list)


@dataclass(frozen=True)
class JointLoss:
    """A loss of several outputs together, or a further loss of one output.

    Args:
        name: the names of the outputs.
        function: (y_true, y_pred) -> values, of both in the structure of the outputs.
        weight: by which the loss counts in the sum of all losses.
        outputs: the numbers of the outputs, in lists, tuples and dicts.
    """

    name: str
    function: Callable[[Any, Any], Any]
    weight: float
    outputs: Any

    def __call__(self, truths: Sequence[Any], predictions: Sequence[Any], weights: Any) -> Tensor:
        """The mean value, of all outputs' truths and predictions and one weight (B,) of each row, or None."""
        y_true = map_structure(lambda index: truths[index], self.outputs)
        y_pred = map_structure(lambda index: predictions[index], self.outputs)
        values = self.function(y_true, y_pred)
        if isinstance(weights, Tensor):
            values = values * weights.reshape(-1, *(1,) * (values.dim() - 1))
        return values.mean()


@dataclass(frozen=True)
class CompileArguments:
    """The arguments of `compile` that belong to outputs: one value, or a structure of one an output."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None

    def targets(
        self, names: Sequence[str], structure: Any = None
    ) -> tuple[list[OutputTarget], list[JointLoss]]:
        """The target of every output, by the outputs' names, and the losses of several outputs together.

        Args:
            names: of the outputs.
            structure: how they are nested; None where they are a list.

        Raises:
            ValueError: a loss or metric is unknown, a name is no output's, or a list has another length.
        """
        terms = _loss_terms(self.loss, self.loss_weights, names, structure)
        targets, joint = _by_output(terms, names)
        for metric_lists, weighted in ((self.metrics, False), (self.weighted_metrics, True)):
            for target, lists in zip(targets, _metrics_of(metric_lists, names), strict=True):
                for metric in map(metrics.get, lists):
                    if metric is None:
                        continue
                    if weighted and any(metric.name == other.name for other, _ in target.metrics):
                        metric.name = f"weighted_{metric.name}"
                    target.metrics.append((metric, weighted))
        return targets, joint


@dataclass(frozen=True)
class _Term:
    """A loss of one output or of several: their numbers, the path to them, the loss and its weight."""

    outputs: Any
    path: Path
    loss: Any
    weight: float


def _by_output(terms: Sequence[_Term], names: Sequence[str]) -> tuple[list[OutputTarget], list[JointLoss]]:
    """The first loss of each output is its target's; all other losses are joint ones."""
    targets = [OutputTarget(name, None) for name in names]
    joint: list[JointLoss] = []
    for term in terms:
        if isinstance(term.outputs, int) and targets[term.outputs].loss is None:
            targets[term.outputs].loss = losses.get(term.loss)
            targets[term.outputs].weight = term.weight
        else:
            joint.append(
                JointLoss(_term_name(term, names), _function(term, names), term.weight, term.outputs)
            )
    return targets, joint


def _function(term: _Term, names: Sequence[str]) -> Callable[[Any, Any], Any]:
    """The function of a joint loss: of structures where it is of several outputs."""
    loss: Any = term.loss
    if isinstance(term.outputs, int):
        return losses.get(loss)
    if isinstance(loss, losses.Loss):
        return loss.call
    if not callable(loss):
        raise _one_each("loss", names, repr(loss), "give a function (y_true, y_pred) for them together")
    return loss


def _one_each(argument: str, names: Sequence[str], received: str, way_out: str) -> ValueError:
    return errors.value_error(argument, f"one for each output ({', '.join(names)})", received, way_out)


def _term_name(term: _Term, names: Sequence[str]) -> str:
    if isinstance(term.outputs, int):
        return names[term.outputs]
    if term.path:
        return "/".join(str(key) for key in term.path)
    by_key = isinstance(term.outputs, Mapping)
    parts = term.outputs if by_key else (names[index] for index in flatten(term.outputs))
    return "_".join(str(part) for part in parts)


def _is_loss(value: Any) -> bool:
    """Whether a value is a loss, or None, and no structure of losses."""
    return not isinstance(value, (list, tuple, Mapping)) or (
        isinstance(value, Mapping) and "class_name" in value
    )


def _loss_terms(loss: Any, weights: Any, names: Sequence[str], structure: Any) -> list[_Term]:
    """Every loss, None left out, with the outputs that it is of."""
    flat = [part for _, part in children(loss)] if not _is_loss(loss) else []
    by_name = isinstance(loss, Mapping) and all(_is_loss(part) for part in flat)
    in_row = isinstance(loss, (list, tuple)) and len(loss) == len(names) and all(map(_is_loss, flat))
    if _is_loss(loss) or by_name or in_row:
        chosen = _each("loss", loss, names, shared=True)
        by_output = _each("loss_weights", weights, names, shared=False)
        return [
            _Term(index, (), chosen[name], 1.0 if by_output[name] is None else float(by_output[name]))
            for index, name in enumerate(names)
            if chosen[name] is not None
        ]
    outputs: Any = 0 if len(names) == 1 else list(range(len(names)))
    if structure is not None:
        outputs = numbered(structure)
    if isinstance(loss, Mapping) and not isinstance(outputs, Mapping):
        _check_names("loss", loss, names)
        outputs = dict(zip(names, flatten([outputs]), strict=True))
    terms = _structured(loss, outputs, (), names)
    factors = _factors(weights, len(terms))
    pairs = zip(terms, factors, strict=True)
    return [_Term(t.outputs, t.path, t.loss, factor) for t, factor in pairs if t.loss is not None]


def _factors(weights: Any, count: int) -> list[float]:
    """The weight of every loss, of a structure of weights like that of the losses."""
    if weights is None:
        return [1.0] * count
    factors = flatten(weights)
    if len(factors) != count:
        way_out = "give them in lists and dicts as the losses are"
        raise errors.value_error("loss_weights", f"one for each of {count} losses", len(factors), way_out)
    return [float(factor) for factor in factors]


def _structured(loss: Any, outputs: Any, path: Path, names: Sequence[str]) -> list[_Term]:
    """The terms of nested losses, each of the outputs at its path.

    Where a list stands for a tuple of outputs, or the other way round, its losses are all of this tuple.
    """
    if _is_loss(loss):
        return [_Term(outputs, path, loss, 1.0)]
    leaves = list(paths(outputs, path))
    if isinstance(loss, (list, tuple)):
        if all(map(_is_loss, loss)) and len(loss) == len(leaves):
            return [_Term(leaf, own, part, 1.0) for part, (own, leaf) in zip(loss, leaves, strict=True)]
        if not isinstance(outputs, type(loss)):
            return [term for part in loss for term in _structured(part, outputs, path, names)]
        if len(loss) != len(outputs):
            way_out = "give a list as long, or a dict"
            raise _one_each("loss", names, f"{len(loss)} values", way_out)
    inner = dict(children(outputs))
    terms: list[_Term] = []
    for key, part in children(loss):
        if key not in inner:
            place = "/".join(map(str, (*path, key)))
            raise _one_each("loss", names, f"one at {place}", "nest the losses as the outputs are nested")
        terms += _structured(part, inner[key], (*path, key), names)
    return terms


def _each(argument: str, value: Any, names: Sequence[str], *, shared: bool) -> dict[str, Any]:
    """The value of every output, None for one without. `shared`: a single value is every output's."""
    if isinstance(value, Mapping) and "class_name" not in value:
        _check_names(argument, value, names)
        return {name: value.get(name) for name in names}
    if isinstance(value, (list, tuple)):
        nested = flatten(list(value))
        value = nested if len(nested) == len(names) else value
        if len(value) != len(names):
            expected = f"one for each output ({', '.join(names)})"
            raise errors.value_error(
                argument, expected, f"{len(value)} values", "give a list as long, or a dict"
            )
        return dict(zip(names, value, strict=True))
    if value is not None and not shared and len(names) > 1:
        expected = f"one for each output ({', '.join(names)})"
        raise errors.type_error(argument, expected, value, "give a list or a dict")
    return dict.fromkeys(names, value)


def _check_names(argument: str, value: Mapping[str, Any], names: Sequence[str]) -> None:
    for key in value:
        if key not in names:
            way_out = errors.did_you_mean(str(key), names)
            raise errors.value_error(argument, f"names of outputs ({', '.join(names)})", repr(key), way_out)


def _metrics_of(value: Any, names: Sequence[str]) -> list[list[Any]]:
    """The metrics of every output: of a dict by name, of a list with a metric or list for each, or shared."""
    if value is None:
        return [[] for _ in names]
    if isinstance(value, Mapping) and "class_name" not in value:
        _check_names("metrics", value, names)
        return [_listed(value.get(name)) for name in names]
    if not isinstance(value, (list, tuple)):
        return [[value] for _ in names]
    if len(names) == 1:
        return [[metric for part in value for metric in _listed(part)]]
    if len(value) == len(names):
        return [_listed(part) for part in value]
    if any(isinstance(part, (list, tuple)) for part in value):
        expected = f"a list for each output ({', '.join(names)})"
        raise errors.value_error(
            "metrics", expected, f"{len(value)} values", "give a list as long, or a dict"
        )
    return [list(value) for _ in names]


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
