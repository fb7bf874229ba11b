"""Saves a fitted task as one file and restores it: options, codec, weights, stream, history and notes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longspan import artifact, errors
from longspan.callbacks import History
from longspan.nn.quantization import is_int8

from .fitting import check_device, device_of
from .options import Configurable, as_text
from .parts import Fitted, TaskParts
from .provenance import DataSource

KIND = "task"
_WEIGHTS = "network."  # before the names of weights


def is_task_file(path: str | os.PathLike[str]) -> bool:
    """Whether a saved model is a task's; a file named as Keras' (.keras, .h5) may be Keras' own."""
    if Path(path).suffix in (".keras", ".h5") and not artifact.is_artifact(path):
        return False
    return artifact.load(path).config.get("kind") == KIND


def save(
    task: TaskParts[Any, Any, Any, Any],
    fitted: Fitted[Any, Any, Any],
    notes: list[str],
    path: str | os.PathLike[str],
) -> None:
    """Write a fitted task to one file, atomically."""
    stream = None if fitted.stream is None else fitted.stream.state()
    tree, tensors = artifact.flatten({"codec": fitted.codec.state(), "stream": stream})
    options, _ = artifact.flatten({name: _plain(value) for name, value in task.get_params().items()})
    config = {
        "kind": KIND,
        "task": task.name,
        "options": options,
        "learned": tree,
        "history": history_state(fitted.history),
        "notes": notes,
        "data": None if fitted.data is None else [list(fitted.data.paths), *fitted.data[1:]],
        "int8": is_int8(fitted.network),
    }
    weights = {f"{_WEIGHTS}{name}": value for name, value in fitted.network.state_dict().items()}
    artifact.save(path, config, {**tensors, **weights})


def restore(
    task: TaskParts[Any, Any, Any, Any], saved: artifact.Artifact
) -> tuple[Fitted[Any, Any, Any], list[str]]:
    """The results of fit and the notes that `save` wrote; task: one with the same options."""
    config, tensors = saved
    learned = artifact.unflatten(config["learned"], tensors)
    codec = task.codec().restore(learned["codec"])
    weights = {n.removeprefix(_WEIGHTS): value for n, value in tensors.items() if n.startswith(_WEIGHTS)}
    int8 = bool(config.get("int8"))  # older files have none
    with torch.device("meta"):  # shapes without memory: a file cannot ask for more than it holds
        _check_shapes(_network(task, codec, int8), weights)
    network = _network(task, codec, int8)
    network.load_state_dict(weights)
    network.to(device_of(task.device)).eval()
    fitted = Fitted(codec, network, history_from_state(config["history"]))
    if config.get("data") is not None:  # older files have none
        paths, *others = config["data"]
        fitted.data = DataSource(tuple(paths), *others)
    fitted.stream = task.start_stream(fitted, None)
    if fitted.stream is not None:
        fitted.stream.restore(learned["stream"])
    _try_out(task, fitted)
    return fitted, [str(note) for note in config["notes"]]


def _network(task: TaskParts[Any, Any, Any, Any], codec: Any, int8: bool) -> Any:
    """A new network of a task, with int8 weights or not."""
    network = task.network(codec, None)
    if int8:
        from longspan.layers.quantization import quantize_layers  # only here: other files need no layers

        quantize_layers(network)
    return network


def _try_out(task: TaskParts[Any, Any, Any, Any], fitted: Fitted[Any, Any, Any]) -> None:
    """Let a loaded model answer once, so that a file made by hand fails here and not in later use.

    Raises:
        Exception: of any kind, where what was read is not what a task saves.
    """
    records = fitted.codec.trial_records(fitted.stream)
    if records is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        answers = task._answers(fitted, records)
        fitted.codec.present(answers)
        fitted.codec.as_table(answers, records)


def _check_shapes(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    if _shapes(network.state_dict()) != _shapes(weights):
        raise ValueError("its weights are not those of its network")
    if any(value.is_floating_point() and bool(value.isnan().any()) for value in weights.values()):
        raise ValueError("some of its weights are not numbers")


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[Any, ...]]:
    return {name: (*value.shape, value.is_floating_point()) for name, value in weights.items()}


def keep_usable_device(task: TaskParts[Any, Any, Any, Any]) -> None:
    """Set the device to None if the saved one does not exist here; a notice says so."""
    if not isinstance(task.device, str):
        return
    try:
        check_device("device", task.device)
    except ValueError:
        errors.notice(
            f"The model was trained on the device {task.device}, which is not there; it runs on another."
        )
        task.device = None


def history_state(history: History) -> list[Any]:
    """A history as plain values; `history_from_state` takes them."""
    return [history.history, history.epoch, history.stopped]


def history_from_state(state: list[Any]) -> History:
    """The history that `history_state` gave."""
    numbers, epochs, stopped = state
    return History(numbers, epochs, {}, stopped)


def options_from_tree(options: Mapping[str, Any], task: Callable[[str], Any]) -> dict[str, Any]:
    """Options as they were saved; task: the class of a name, for an option that is a task."""
    return {
        name: _inner_task(value, task) if isinstance(value, dict) else value
        for name, value in options.items()
    }


def _inner_task(saved: Mapping[str, Any], task: Callable[[str], Any]) -> Any:
    inner = task(saved["task"])(**saved["options"])
    keep_usable_device(inner)
    inner.check()
    return inner


def _plain(value: Any) -> Any:
    """An option's value as it is saved; a task is saved as its name and options, a function as its name."""
    if callable(value):
        return as_text(value)
    return {"task": value.name, "options": value.get_params()} if isinstance(value, Configurable) else value
