"""States what a fit of a model is of, so that a checkpoint of another fit is refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass, replace
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from longspan.data.batches import Batches, BPTTChunks
from longspan.layers import Layer
from longspan.training.checkpoint import DIGEST, CheckpointConfig, as_checkpoint_config

from .protocol import Model


@runtime_checkable
class _Configurable(Protocol):
    """A layer, an optimizer, a schedule, a loss or a metric."""

    def get_config(self) -> dict[str, Any]: ...


def identified(
    resume: Any, model: Model, batches: Any, validation: Any, limits: Mapping[str, Any]
) -> CheckpointConfig | None:
    """The checkpoint configuration of a fit, with the fit's identity.

    Args:
        resume: a path or a CheckpointConfig, None for no checkpoints; one that has an identity keeps it.
        model: its layers, loss, metrics and optimizer count; their names do not.
        batches, validation: their arrays count. Of generators and DataLoaders only the class counts, since
            their data are not known before they are read.
        limits: the arguments of `fit` that change its steps, by name.

    Raises:
        ValueError: the file is damaged, no checkpoint, or one of another fit.
    """
    config = as_checkpoint_config(resume)
    if config is None or config.identity is not None:
        return config
    identity = {
        "model": _digest(_without_names(model)),
        "optimizer": _text(model.optimizer_config or model.optimizer),
        "loss": _text([target.loss for target in model.targets]),
        "joint_losses": _text(model.joint_losses),
        "loss_weights": _text([target.weight for target in model.targets]),
        "metrics": _text([target.metrics for target in model.targets]),
        **{name: str(value) for name, value in limits.items()},
        **_data("data", batches),
        **_data("validation_data", validation),
    }
    config = replace(config, identity=identity)
    config.check()
    return config


def _without_names(model: Model) -> str:
    """The layers as text, with numbers in place of their names, which differ from process to process."""
    is_graph = "input_layers" in (config := model.get_config())
    text = _text({**config, "name": None} if is_graph else model.layers)
    names = [part.name for part in model.modules() if isinstance(part, Layer)]
    for number, name in enumerate(names):
        text = text.replace(json.dumps(name), f'"#{number}"')
    return text


def _data(name: str, batches: Any) -> dict[str, str]:
    """The batches' digest, size and order; their class where the data are not known before."""
    if isinstance(batches, Batches) and batches.columns:
        shuffled = {"shuffle": str(batches.shuffle)} if name == "data" else {}
        return {name: _digest(batches.columns), f"{name}_batch_size": str(batches.batch_size), **shuffled}
    if isinstance(batches, BPTTChunks):
        return {name: _digest([batches.x, batches.y]), f"{name}_chunk_length": str(batches.chunk_length)}
    return {name: "none" if batches is None else type(batches).__name__}


def _digest(value: Any) -> str:
    """A digest of text, or of tensors in lists and tuples: of their dtypes, shapes and values."""
    hashed = sha256()

    def add(part: Any) -> None:
        if isinstance(part, (list, tuple)):
            hashed.update(f"{len(part)} parts".encode())
            for item in part:
                add(item)
        elif isinstance(part, Tensor):
            array = np.ascontiguousarray(part.detach().cpu().numpy())
            hashed.update(f"{array.dtype} {array.shape}".encode())
            hashed.update(array.data)
        else:
            hashed.update(repr(part).encode())

    add(value)
    return DIGEST + hashed.hexdigest()[:32]


def _text(value: Any) -> str:
    """A value as JSON, the same in every process; an object as its class and options."""
    return json.dumps(value, default=_options, sort_keys=True)


def _options(value: Any) -> Any:
    """The class and options of an object; the name of a function."""
    kind = type(value).__name__
    if isinstance(value, Layer):
        return [kind, {key: option for key, option in value.get_config().items() if key != "name"}]
    if isinstance(value, Optimizer):
        return [kind, value.defaults]
    if isinstance(value, _Configurable):
        return [kind, value.get_config()]
    if is_dataclass(value) and not isinstance(value, type):
        return [kind, asdict(value)]
    if isinstance(value, Callable):
        return getattr(value, "__qualname__", kind)
    return kind
