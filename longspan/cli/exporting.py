"""Writes a saved model in another form: as ONNX, for Keras, with int8 weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from longspan import errors

_ENDINGS = (".onnx", ".keras", ".h5")


def export_file(model: str, output: str, *, states: bool) -> None:
    """Write a model as ONNX or as Keras' file.

    Args:
        model: the path of a saved Sequential; output: the path of the new file.
        states: whether an ONNX graph takes and returns the states of recurrent layers.

    Raises:
        ValueError: the ending is another, the model is a task's, or Keras has no such layer; one sentence.
    """
    ending = Path(output).suffix.lower()
    if ending not in _ENDINGS:
        expected = f"a file that ends in {', '.join(_ENDINGS)}"
        raise errors.value_error("-o", expected, repr(output), "change its ending")
    if states and ending != ".onnx":
        raise errors.value_error("--states", "a .onnx file", output, "leave it out")
    loaded = _sequential(model)
    if ending == ".onnx":
        from longspan.export import to_onnx

        to_onnx(loaded, output, states=states)
    else:
        from longspan.export import to_keras

        to_keras(loaded, output)


def _sequential(path: str) -> Any:
    """The saved Sequential; an error that names the way out for a task."""
    from longspan.models import load_model
    from longspan.tasks.persistence import is_task_file

    if is_task_file(path):
        way_out = "tasks are saved as longspan's files alone, and answer by longspan predict or serve"
        raise errors.value_error("MODEL", "a saved Sequential", f"a task in {path}", way_out)
    return load_model(path)


def quantize_file(model: str, output: str) -> None:
    """Write a copy of a saved Sequential or task with int8 weights; see `longspan.quantize`.

    Args:
        model: the path of the saved model; output: the path of the new file, a graph of ONNX for .onnx.

    Raises:
        ValueError: the file is to be a graph of ONNX and the model is a task's; one sentence.
    """
    from longspan.models import load_model
    from longspan.quantization import quantize
    from longspan.tasks import load
    from longspan.tasks.persistence import is_task_file

    if Path(output).suffix.lower() == ".onnx":
        from longspan.export import to_onnx

        to_onnx(quantize(_sequential(model)), output)
        return
    saved: Any = load(model) if is_task_file(model) else load_model(model)
    quantize(saved).save(output)
