"""Computes features of frames by the user's own model, a function or an ONNX file; caches them on disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from longspan import errors
from longspan.atomic_file import atomic_write
from longspan.optional import require
from longspan.registry import name_of

FeatureModel = Callable[[Tensor], Any]  # frames (N, C, H, W) float32 from 0 to 1 -> features (N, ...)
_CHUNK = 64  # frames that the model is given at once


class FrameFeatures:
    """Features of frames by a model that is not trained.

    Args:
        model: a function of frames (N, C, H, W) float32 with values from 0 to 1 that gives an array or tensor
            (N, F), or (N, F, rows, columns) for a grid; the path of an ONNX file with one such input; or text
            "module:function" for a function that can be imported.
        cache: a folder in which features are kept; None for no cache. An entry belongs to the frames and the
            model: of an ONNX file or a module its content counts, of a function its name and its code.

    Raises:
        ValueError, TypeError: the model cannot be read; one sentence.

    >>> features = FrameFeatures(lambda frames: frames.mean((2, 3)))
    >>> features(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)).shape
    torch.Size([4, 3])
    """

    def __init__(self, model: FeatureModel | str, cache: str | os.PathLike[str] | None = None) -> None:
        self.cache = None if cache is None else Path(cache)
        self.content = torch.zeros(0, dtype=torch.uint8)  # of an ONNX file
        if not isinstance(model, str):
            if not callable(model):
                expected = "a function, the path of an ONNX file, or module:function"
                raise errors.type_error("features", expected, model, "pass one of these")
            self._set_function(model)
        elif model.lower().endswith(".onnx"):
            self._set_onnx(_content(model))
        else:
            self._set_function(_imported(model))

    def _set_function(self, model: FeatureModel) -> None:
        self.model, self.name = model, name_of(model)
        self.identity = _identity(model)

    def _set_onnx(self, content: bytes) -> None:
        self.content = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        self.model, self.name = _session(content), ""
        self.identity = sha256(content).hexdigest()

    def __call__(self, frames: Tensor) -> Tensor:
        """Features of frames (N, C, H, W) uint8: (N, F), or (N, F, rows, columns), float32.

        Raises:
            ValueError: the model gives another number of rows, or something else than numbers; one sentence.
        """
        if self.cache is None:
            return self._computed(frames)
        file = self.cache / f"{self._key(frames)}.npy"
        try:
            return torch.from_numpy(np.load(file, allow_pickle=False))
        except (FileNotFoundError, ValueError, EOFError):  # missing, or written by something else
            features = self._computed(frames)
        written = BytesIO()
        np.save(written, features.numpy())
        with atomic_write(file) as target:
            target.write(written.getvalue())
        return features

    def _key(self, frames: Tensor) -> str:
        content = sha256(f"{self.identity} {tuple(frames.shape)} ".encode())
        content.update(frames.contiguous().numpy().tobytes())
        return content.hexdigest()[:40]

    def _computed(self, frames: Tensor) -> Tensor:
        with torch.no_grad():
            parts = [self._features(part.float() / 255) for part in frames.split(_CHUNK)]
        return torch.cat(parts)

    def _features(self, frames: Tensor) -> Tensor:
        features = self.model(frames)
        if isinstance(features, Tensor):
            features = features.detach().cpu()
        values = np.asarray(features)
        if values.ndim not in (2, 4) or len(values) != len(frames) or values.dtype.kind not in "biuf":
            expected = (
                f"({len(frames)}, F) or ({len(frames)}, F, rows, columns) numbers of {len(frames)} frames"
            )
            raise errors.value_error("features", expected, f"shape {values.shape}", "change what it returns")
        return torch.from_numpy(values.astype(np.float32))

    def state(self) -> dict[str, Any]:
        """Plain values that `from_state` takes: the content of an ONNX file, or the function's name.

        Raises:
            ValueError: the function cannot be imported by its name; one sentence.
        """
        if not len(self.content):
            _imported(self.name)
        return {"name": self.name, "content": self.content}

    @classmethod
    def from_state(cls, state: Any, cache: str | os.PathLike[str] | None = None) -> FrameFeatures:
        """The features that gave this state."""
        if not len(state["content"]):
            return cls(state["name"], cache)
        features = cls(_no_model, cache)
        features._set_onnx(state["content"].numpy().tobytes())
        return features


def _no_model(frames: Tensor) -> Tensor:
    return frames


def _imported(name: str) -> FeatureModel:
    """The function of `module:name`."""
    module, _, attribute = name.partition(":")
    way_out = "put it into a module of its own, or export the model as an ONNX file"
    expected = "a function that can be imported by its name, as module:function"
    try:
        function = getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise errors.value_error("features", expected, repr(name), way_out) from error
    if not callable(function) or isinstance(function, type):
        raise errors.value_error("features", expected, repr(name), way_out)
    return function


def _identity(model: FeatureModel) -> str:
    """What tells this model from another one: its name, and its weights or its code."""
    content = sha256(name_of(model).encode())
    if isinstance(model, nn.Module):
        for name, weight in model.state_dict().items():
            content.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    code = getattr(model, "__code__", None)
    if code is not None:
        content.update(code.co_code + repr(code.co_names).encode())
        content.update(
            repr([part for part in code.co_consts if isinstance(part, (int, float, str))]).encode()
        )
    return content.hexdigest()


def _content(path: str) -> bytes:
    if not Path(path).is_file():
        received = f"{path}, where nothing is"
        raise FileNotFoundError(errors.message("features", "an ONNX file", received, "correct the path"))
    return Path(path).read_bytes()


def _session(content: bytes) -> FeatureModel:
    """A function that runs an ONNX model's first input and first output."""
    runtime = require("onnxruntime", "onnx", "features of an ONNX file")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    try:
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of errors for every status
        received = f"what onnxruntime cannot read ({type(error).__name__})"
        raise errors.value_error("features", "an ONNX file", received, "export it again") from error
    first = session.get_inputs()[0]
    single = isinstance(first.shape[0], int)

    def run(frames: Tensor) -> np.ndarray:
        parts = frames.split(first.shape[0]) if single else [frames]
        return np.concatenate([_run(session, first, part) for part in parts])

    return run


def _run(session: Any, first: Any, frames: Tensor) -> np.ndarray:
    """The first output for frames, or an error that says which frames the file takes."""
    try:
        return session.run(None, {first.name: frames.numpy()})[0]
    except Exception as error:  # as above
        expected = f"frames of shape {first.shape} and type {first.type}, as the ONNX file takes"
        received = f"frames of shape {tuple(frames.shape)}"
        raise errors.value_error("features", expected, received, "set the size of frames") from error
