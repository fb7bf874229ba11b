"""Compiles a model as a file of Keras says."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from longspan import errors, losses, metrics, optimizers

from .protocol import Model


def compile_from_keras(model: Model, config: Mapping[str, Any]) -> None:
    """Compile the model as a file of Keras says; if a part is missing here, only a notice says so.

    Args:
        model: the model.
        config: Keras 3's compile_config, or the older training_config.
    """
    try:
        optimizer = optimizers.get(
            _supported(config.get("optimizer", config.get("optimizer_config")), optimizers.CLASSES)
        )
        loss = _losses(config.get("loss"))
        metric_lists = [_metrics(config.get(kind)) for kind in ("metrics", "weighted_metrics")]
    except (ValueError, TypeError) as error:
        errors.notice(
            f"the model is loaded without the arguments of compile in Keras: {str(error).rstrip('.')}"
        )
        return
    model.compile(optimizer, loss, config.get("loss_weights"), *metric_lists)


def _losses(saved: Any) -> Any:
    """The loss, or the losses of several outputs in a list or a dict by name."""
    if isinstance(saved, list):
        return [_losses(loss) for loss in saved]
    if isinstance(saved, Mapping) and "class_name" not in saved:
        return {name: _losses(loss) for name, loss in saved.items()}
    return None if saved is None else losses.get(_supported(saved, losses.CLASSES))


def _metrics(saved: Any) -> Any:
    """The metrics of a list, of lists for several outputs, or of a dict by the outputs' names."""
    if isinstance(saved, Mapping) and "class_name" not in saved:
        return {name: _metrics(entry) for name, entry in saved.items()}
    if isinstance(saved, (str, Mapping)):
        saved = [saved]
    result: list[Any] = []
    for entry in saved or ():
        if isinstance(entry, (list, tuple)):
            result.append(_metrics(entry))
        elif isinstance(entry, Mapping) and entry["class_name"] == "MeanMetricWrapper":  # Keras 2: a function
            result.append(metrics.get(entry["config"]["fn"]))
        else:
            result.append(metrics.get(_supported(entry, metrics.CLASSES)))
    return result


# Options that Keras saves and that change no number, and the names of options in older files.
_IGNORED = {"dtype", "fn", "is_legacy_optimizer", "jit_compile", "ema_momentum"}
_RENAMED = {"lr": "learning_rate", "auto": "sum_over_batch_size"}


def _supported(saved: Any, classes: Mapping[str, Callable[..., Any]]) -> Any:
    """The saved config with the options that the class has here; an error if another option matters."""
    if not isinstance(saved, Mapping) or saved.get("class_name") not in classes:
        return saved
    kind = saved["class_name"]
    parameters = inspect.signature(classes[kind]).parameters
    options = {}
    for key, value in saved["config"].items():
        name = _RENAMED.get(key, key)
        if name in parameters:
            options[name] = _RENAMED.get(value, value) if key == "reduction" else value
        elif key not in _IGNORED and value not in (None, False, -1):
            raise errors.value_error(
                kind, f"no option but {', '.join(parameters)}", f"{key}={value!r}", "compile it again"
            )
    return {"class_name": kind, "config": options}
