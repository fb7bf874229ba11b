"""Resolves the arguments of `compile` to a loss, a weight and metrics for every output of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from longspan import errors, losses, metrics
from longspan.layers.structure import flatten


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
class CompileArguments:
    """The arguments of `compile` that belong to outputs: one value, or a list or dict of one an output."""

    loss: Any = None
    loss_weights: Any = None
    metrics: Any = None
    weighted_metrics: Any = None

    def targets(self, names: Sequence[str]) -> list[OutputTarget]:
        """The target of every output, by the outputs' names.

        Raises:
            ValueError: a loss or metric is unknown, a name is no output's, or a list has another length.
        """
        chosen = _each("loss", self.loss, names, shared=True)
        weights = _each("loss_weights", self.loss_weights, names, shared=False)
        targets = [
            OutputTarget(
                name,
                None if chosen[name] is None else losses.get(chosen[name]),
                1.0 if weights[name] is None else float(weights[name]),
            )
            for name in names
        ]
        for given, weighted in ((self.metrics, False), (self.weighted_metrics, True)):
            for target, lists in zip(targets, _metrics_of(given, names), strict=True):
                for metric in map(metrics.get, lists):
                    if weighted and any(metric.name == other.name for other, _ in target.metrics):
                        metric.name = f"weighted_{metric.name}"
                    target.metrics.append((metric, weighted))
        return targets


def _each(argument: str, value: Any, names: Sequence[str], *, shared: bool) -> dict[str, Any]:
    """The value of every output, None for one without. `shared`: a single value is every output's."""
    if isinstance(value, Mapping) and "class_name" not in value:
        if any(isinstance(part, (list, tuple, Mapping)) for part in value.values()):
            return _each(argument, flatten(dict(value)), names, shared=shared)
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
