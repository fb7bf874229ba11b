"""Builds an ONNX graph node by node: constants, inputs, outputs and loops over time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from longspan.optional import require

OPSET = 17  # the oldest with LayerNormalization
IR_VERSION = 8  # of the same ONNX release: onnxruntime refuses files of a newer version than its own


class Graph:
    """An ONNX graph under construction; a value is referred to by its name."""

    def __init__(self) -> None:
        self._onnx = require("onnx", "onnx", "export to ONNX")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def name(self, stem: str) -> str:
        """A name that no value has yet."""
        self._count += 1
        return f"{stem}_{self._count}"

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or a list of them. "" stands for an input left out."""
        names = [self.name(op.lower()) for _ in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def scan(
        self,
        step: Callable[..., list[str]],
        starts: Sequence[str],
        scanned: str,
        *,
        backwards: bool = False,
    ) -> list[str]:
        """Adds a loop over the first dimension of a value, all float32.

        Args:
            step: (*states, slice) -> the new states, then the step's outputs; it adds the body's nodes.
            starts: the first states.
            scanned: the value that is read slice by slice.
            backwards: read from the last slice to the first.

        Returns:
            The last states, then the outputs of every step, stacked in the order of reading.
        """
        inputs = [self.name("slice") for _ in (*starts, scanned)]
        outer, self._nodes = self._nodes, []
        outputs = step(*inputs)
        nodes, self._nodes = self._nodes, outer
        body_inputs, body_outputs = (
            [
                self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, None)
                for name in names
            ]
            for names in (inputs, outputs)
        )
        body = self._onnx.helper.make_graph(nodes, self.name("body"), body_inputs, body_outputs)
        options = {"num_scan_inputs": 1, "scan_input_directions": [int(backwards)]}
        return self.add("Scan", *starts, scanned, outputs=len(outputs), body=body, **options)

    def floats(self, values: Any) -> str:
        """A float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def int8_rows(self, values: np.ndarray, scale: np.ndarray) -> str:
        """A float32 matrix (N, K) as an int8 constant and the scale (N,) of each row, by DequantizeLinear."""
        constants = self._constant(values.astype(np.int8)), self.floats(scale)
        return self.add("DequantizeLinear", *constants, axis=0)

    def int_vector(self, *values: int) -> str:
        """An int64 constant, a vector."""
        return self._constant(np.asarray(values, np.int64))

    def int_scalar(self, value: int) -> str:
        """An int64 constant, a scalar."""
        return self._constant(np.asarray(value, np.int64))

    def _constant(self, array: np.ndarray) -> str:
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
        key = f"{array.dtype}{array.shape}{tensor.raw_data!r}" if array.size < 16 else self.name("weight")
        if key not in self._constants:
            tensor.name = self.name("const")
            self._constants[key] = tensor
        return self._constants[key].name

    def input(self, name: str, shape: Sequence[int | str], *, integers: bool = False) -> str:
        """Declares an input; a size given as text stays open."""
        self._inputs.append(self._value(name, shape, integers))
        return name

    def output(self, name: str, value: str, shape: Sequence[int | str]) -> None:
        """Declares an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, shape, False))

    def _value(self, name: str, shape: Sequence[int | str], integers: bool) -> Any:
        kinds = self._onnx.TensorProto
        return self._onnx.helper.make_tensor_value_info(
            name, kinds.INT64 if integers else kinds.FLOAT, list(shape)
        )

    def model(self, name: str) -> Any:
        """The finished onnx.ModelProto, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        model = helper.make_model(
            graph,
            producer_name="longspan",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        self._onnx.checker.check_model(model, full_check=True)
        return model
