"""Knows how an ONNX graph is put together: nodes, constants, and the shapes that stay open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from longspan.optional import require

OPSET = 17  # the oldest with LayerNormalization
IR_VERSION = 8  # what came with it: onnxruntime refuses files from its future


class Graph:
    """An ONNX graph that grows node by node; a value is known by its name."""

    def __init__(self) -> None:
        self._onnx = require("onnx", "onnx", "export to ONNX")
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._outputs: list[Any] = []
        self._count = 0

    def name(self, stem: str) -> str:
        """A name that nothing has yet."""
        self._count += 1
        return f"{stem}_{self._count}"

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """One node; the name of its output, or a list of them. "" stands for an input left out."""
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
        """A loop over the first dimension of what is scanned, all float32.

        Args:
            step: (*states, slice) -> the new states, then what is kept of the step; it adds the body's nodes.
            starts: the first states.
            scanned: what is read slice by slice.
            backwards: read from the last slice to the first.

        Returns:
            The last states, then what was kept of every step, stacked in the order of reading.
        """
        inputs = [self.name("slice") for _ in (*starts, scanned)]
        outer, self._nodes = self._nodes, []
        outputs = step(*inputs)
        nodes, self._nodes = self._nodes, outer
        given, made = (
            [
                self._onnx.helper.make_tensor_value_info(name, self._onnx.TensorProto.FLOAT, None)
                for name in names
            ]
            for names in (inputs, outputs)
        )
        body = self._onnx.helper.make_graph(nodes, self.name("body"), given, made)
        options = {"num_scan_inputs": 1, "scan_input_directions": [int(backwards)]}
        return self.add("Scan", *starts, scanned, outputs=len(outputs), body=body, **options)

    def floats(self, values: Any) -> str:
        """A float32 constant."""
        return self._constant(np.asarray(values, np.float32))

    def whole(self, *values: int) -> str:
        """A vector of int64."""
        return self._constant(np.asarray(values, np.int64))

    def number(self, value: int) -> str:
        """One int64."""
        return self._constant(np.asarray(value, np.int64))

    def _constant(self, array: np.ndarray) -> str:
        tensor = self._onnx.numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape))
        key = f"{array.dtype}{array.shape}{tensor.raw_data!r}" if array.size < 16 else self.name("weight")
        if key not in self._constants:
            tensor.name = self.name("const")
            self._constants[key] = tensor
        return self._constants[key].name

    def input(self, name: str, shape: Sequence[int | str], *, whole: bool = False) -> str:
        """Declare an input; text stands for a size that is open."""
        self._inputs.append(self._value(name, shape, whole))
        return name

    def output(self, name: str, value: str, shape: Sequence[int | str]) -> None:
        """Declare an output."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [value], [name]))
        self._outputs.append(self._value(name, shape, False))

    def _value(self, name: str, shape: Sequence[int | str], whole: bool) -> Any:
        kinds = self._onnx.TensorProto
        return self._onnx.helper.make_tensor_value_info(
            name, kinds.INT64 if whole else kinds.FLOAT, list(shape)
        )

    def model(self, name: str) -> Any:
        """The finished onnx.ModelProto, checked."""
        helper = self._onnx.helper
        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, list(self._constants.values())
        )
        made = helper.make_model(
            graph,
            producer_name="longspan",
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
        )
        self._onnx.checker.check_model(made, full_check=True)
        return made
