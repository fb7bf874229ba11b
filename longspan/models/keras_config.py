"""Knows how what Keras' `compile` was told, as its files keep it, becomes `compile` here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from longspan import errors, losses, metrics, optimizers

from .protocol import Model


def compile_as_keras(model: Model, said: Mapping[str, Any]) -> None:
    """Compile the model as a file of Keras says; what this library lacks is left to the user, with a note.

    Args:
        model: a Sequential.
        said: Keras 3's compile_config, or the older training_config.
    """
    try:
        recipe = optimizers.get(
            _known(said.get("optimizer", said.get("optimizer_config")), optimizers.CLASSES)
        )
        loss = None if said.get("loss") is None else losses.get(_known(said["loss"], losses.CLASSES))
        watched = [_metrics(said.get(kind)) for kind in ("metrics", "weighted_metrics")]
    except (ValueError, TypeError) as error:
        errors.notice(f"the model is loaded without what compile said in Keras: {str(error).rstrip('.')}")
        return
    model.compile(recipe, loss, *watched)


def _metrics(said: Any) -> list[metrics.Metric]:
    """Of a list, or of Keras 2's list of lists."""
    found = []
    for one in said or ():
        if isinstance(one, (list, tuple)):
            found += _metrics(one)
        elif isinstance(one, Mapping) and one["class_name"] == "MeanMetricWrapper":  # Keras 2: a function
            found.append(metrics.get(one["config"]["fn"]))
        else:
            found.append(metrics.get(_known(one, metrics.CLASSES)))
    return found


# What Keras writes down and what changes no number; what older files call it.
_IDLE = {"dtype", "fn", "is_legacy_optimizer", "jit_compile", "ema_momentum"}
_OLDER = {"lr": "learning_rate", "auto": "sum_over_batch_size"}


def _known(said: Any, classes: Mapping[str, Callable[..., Any]]) -> Any:
    """The same with the options that the class here has; an error where another one matters."""
    if not isinstance(said, Mapping) or said.get("class_name") not in classes:
        return said
    kind = said["class_name"]
    own = inspect.signature(classes[kind]).parameters
    kept = {}
    for key, value in said["config"].items():
        name = _OLDER.get(key, key)
        if name in own:
            kept[name] = _OLDER.get(value, value) if key == "reduction" else value
        elif key not in _IDLE and value not in (None, False, -1):
            raise errors.value_error(
                kind, f"no option but {', '.join(own)}", f"{key}={value!r}", "compile it again"
            )
    return {"class_name": kind, "config": kept}
