"""Saves a model and its weights to files, and loads them, also from files of Keras."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longspan import artifact, errors, export, losses, metrics, optimizers
from longspan.layers.config import plain_config
from longspan.layers.structure import map_shapes
from longspan.nn.quantization import is_int8

from .protocol import Model

_HDF5 = b"\x89HDF"
PathLike = str | os.PathLike[str]


def save(model: Model, path: PathLike, *, overwrite: bool) -> None:
    """Write everything; see Model.save."""
    _check_free(path, overwrite)
    saved = {"kind": model.class_name(), "model": _config(model), "shape": _shape(model)}
    if is_int8(model):
        saved["int8"] = True
    tensors = _weights(model)
    compiled = _compile_config(model)
    if compiled is not None:
        optimizer_tree, optimizer_tensors = artifact.flatten(_optimizer_state(model))
        saved |= {"compiled": compiled, "optimizer": optimizer_tree}
        tensors |= {f"optimizer/{name}": value for name, value in optimizer_tensors.items()}
    artifact.save(path, saved, tensors)


def save_weights(model: Model, path: PathLike, *, overwrite: bool) -> None:
    """Write the weights; see Model.save_weights."""
    _check_free(path, overwrite)
    artifact.save(path, {"kind": "weights", "shape": _shape(model)}, _weights(model))


def _check_free(path: PathLike, overwrite: bool) -> None:
    if not overwrite and Path(path).exists():
        raise FileExistsError(
            errors.message(f"file {path}", "a free path", "an existing file", "overwrite=True")
        )


def _config(model: Model) -> dict[str, Any]:
    """The model's config, JSON values only.

    Raises:
        TypeError: a layer has an option that a file cannot hold.
    """
    return plain_config(model.get_config(), model.name)


def _shape(model: Model) -> Any:
    shape = model.input_shape if model.built else None
    return map_shapes(list, shape) if shape is not None else None


def _weights(model: Model) -> dict[str, Tensor]:
    """The weights in Keras' order and layout, whatever layout the kernels use."""
    parts = model.weighted_parts()
    return {
        f"weights/{index}/{i}.{weight.name}": weight.get()
        for index, weights in enumerate(parts)
        for i, weight in enumerate(weights)
    }


def _compile_config(model: Model) -> dict[str, Any] | None:
    """The arguments of `compile`; None if it was not called, or if a file cannot hold them."""
    if model.compile_arguments is None or model.optimizer_config is None:
        return None
    try:
        for joint in model.joint_losses:
            expected = "one loss for each output"
            raise errors.value_error("loss", expected, f"another one of {joint.name}", "compile again")
        return {
            "optimizer": optimizers.serialize(model.optimizer_config),
            "losses": [None if t.loss is None else losses.serialize(t.loss) for t in model.targets],
            "loss_weights": [target.weight for target in model.targets],
            "metrics": [
                [[_metric_config(metric), metric.name, weighted] for metric, weighted in target.metrics]
                for target in model.targets
            ],
        }
    except ValueError as error:
        errors.notice(f"the model is saved without the arguments of compile: {str(error).rstrip('.')}")
        return None


def _metric_config(metric: metrics.Metric) -> dict[str, Any]:
    """A metric's options; without a dtype that nobody gave, to which loaded metrics would round."""
    options = metrics.serialize(metric)
    if metric.result_dtype is None:
        options = {**options, "config": {k: v for k, v in options["config"].items() if k != "dtype"}}
    return options


def _optimizer_state(model: Model) -> Any:
    if is_int8(model):  # nothing is trained
        return None
    stepper = model.optimizer
    return stepper.state_dict() if isinstance(stepper, torch.optim.Optimizer) else None


def _metrics(saved: Sequence[Any], weighted: bool) -> list[metrics.Metric]:
    """The metrics of an output with sample weights, or without."""
    made: list[metrics.Metric] = []
    for options, name, is_weighted in saved:
        if is_weighted == weighted:
            metric = metrics.get(options)
            metric.name = name
            made.append(metric)
    return made


def compile_from(model: Model, saved: artifact.Artifact) -> None:
    """Compile a model as a saved file says, with the optimizer's state."""
    options = saved.config["compiled"]
    plain, weighted = ([_metrics(part, kind) for part in options["metrics"]] for kind in (False, True))
    model.compile(
        optimizers.get(options["optimizer"]),
        [None if loss is None else losses.get(loss) for loss in options["losses"]],
        options["loss_weights"],
        plain,
        weighted,
    )
    tensors = {
        name.removeprefix("optimizer/"): value
        for name, value in saved.tensors.items()
        if name.startswith("optimizer/")
    }
    state = artifact.unflatten(saved.config["optimizer"], tensors)
    if state is not None:
        model.optimizer.load_state_dict(state)


def load_weights(model: Model, path: PathLike) -> None:
    """Take the weights of a file; see Model.load_weights."""
    if is_keras(path):
        model.set_weights(export.read_keras(path).ordered(export.described_layers(model)))
        return
    saved = artifact.load(path)
    if "shape" not in saved.config:
        received = f"a file of kind {saved.config.get('kind')!r}"
        raise errors.value_error(f"file {path}", "weights of a model", received, "name another file")
    with artifact.whole_model(path, keep_messages=True):
        if not model.built and saved.config["shape"] is not None:
            model.build(saved.config["shape"])
        set_weights(model, saved.tensors)


def set_weights(model: Model, tensors: Mapping[str, Tensor]) -> None:
    """Set the model's weights from the tensors of a saved file."""
    names = [name for name in tensors if name.startswith("weights/")]
    ordered = sorted(names, key=_weight_position)
    model.set_weights([tensors[name].numpy() for name in ordered])


def _weight_position(name: str) -> tuple[int, int]:
    _, layer, weight = name.split("/")
    return int(layer), int(weight.split(".")[0])


def is_keras(path: PathLike) -> bool:
    """Whether a file is one of Keras': HDF5, or a zip with HDF5 weights in it."""
    file = Path(path)
    if not file.is_file():
        return False
    with file.open("rb") as opened:
        if opened.read(len(_HDF5)) == _HDF5:
            return True
    try:
        with zipfile.ZipFile(file) as archive:
            return "model.weights.h5" in archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):  # damaged: no one's file
        return False
