"""Knows how a Sequential lies in a file of its own and comes out again, or out of a file of Keras."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longspan import artifact, errors, export, losses, metrics, optimizers

from .protocol import Model

_HDF5 = b"\x89HDF"
Path_ = str | os.PathLike[str]


def save(model: Model, path: Path_, *, overwrite: bool) -> None:
    """Write everything; see Sequential.save."""
    _check_free(path, overwrite)
    config = {"kind": "Sequential", "model": model.get_config(), "shape": _shape(model)}
    tensors = _weights(model)
    compiled = _compiled(model)
    if compiled is not None:
        running, moved = artifact.flatten(_running(model))
        config |= {"compiled": compiled, "optimizer": running}
        tensors |= {f"optimizer/{name}": value for name, value in moved.items()}
    artifact.save(path, config, tensors)


def save_weights(model: Model, path: Path_, *, overwrite: bool) -> None:
    """Write the weights; see Sequential.save_weights."""
    _check_free(path, overwrite)
    artifact.save(path, {"kind": "weights", "shape": _shape(model)}, _weights(model))


def _check_free(path: Path_, overwrite: bool) -> None:
    if not overwrite and Path(path).exists():
        raise FileExistsError(
            errors.message(f"file {path}", "a free path", "an existing file", "overwrite=True")
        )


def _shape(model: Model) -> list[int | None] | None:
    return list(model.input_shape) if model.built else None


def _weights(model: Model) -> dict[str, Tensor]:
    """In Keras' order and layout: what a weight means does not hang on how the kernels keep it."""
    return {
        f"weights/{place}/{i}.{weight.name}": weight.get()
        for place, layer in enumerate(model.layers)
        for i, weight in enumerate(layer.keras_weights())
    }


def _compiled(model: Model) -> dict[str, Any] | None:
    """What `compile` said; None where it was not called, or, with a note, where a file cannot hold it."""
    if model.loss is None or model.optimizer_config is None:
        return None
    try:
        return {
            "optimizer": optimizers.serialize(model.optimizer_config),
            "loss": losses.serialize(model.loss),
            "metrics": [
                [metrics.serialize(one), one.name, weighted] for one, weighted in model.compiled_metrics
            ],
        }
    except ValueError as error:
        errors.notice(f"the model is saved without what compile said: {str(error).rstrip('.')}")
        return None


def _running(model: Model) -> Any:
    stepper = model.optimizer
    return stepper.state_dict() if isinstance(stepper, torch.optim.Optimizer) else None


def compile_as(model: Model, kept: artifact.Artifact) -> None:
    said = kept.config["compiled"]
    found: dict[bool, list[metrics.Metric]] = {False: [], True: []}
    for described, name, weighted in said["metrics"]:
        metric = metrics.get(described)
        metric.name = name
        found[weighted].append(metric)
    model.compile(optimizers.get(said["optimizer"]), losses.get(said["loss"]), found[False], found[True])
    tensors = {
        name.removeprefix("optimizer/"): value
        for name, value in kept.tensors.items()
        if name.startswith("optimizer/")
    }
    state = artifact.unflatten(kept.config["optimizer"], tensors)
    if state is not None:
        model.optimizer.load_state_dict(state)


def load_weights(model: Model, path: Path_) -> None:
    """Take the weights of a file; see Sequential.load_weights."""
    if is_keras(path):
        model.set_weights(export.read_keras(path).ordered(export.described_layers(model)))
        return
    kept = artifact.load(path)
    if not model.built and kept.config["shape"] is not None:
        model.build(kept.config["shape"])
    take(model, kept.tensors)


def take(model: Model, tensors: Mapping[str, Tensor]) -> None:
    named = [name for name in tensors if name.startswith("weights/")]
    ordered = sorted(named, key=_place)
    model.set_weights([tensors[name].numpy() for name in ordered])


def _place(name: str) -> tuple[int, int]:
    _, layer, weight = name.split("/")
    return int(layer), int(weight.split(".")[0])


def is_keras(path: Path_) -> bool:
    """Whether a file is one of Keras': HDF5, or a zip with HDF5 weights in it."""
    file = Path(path)
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        if opened.read(len(_HDF5)) == _HDF5:
            return True
    if not zipfile.is_zipfile(file):
        return False
    with zipfile.ZipFile(file) as archive:
        return "model.weights.h5" in archive.namelist()
