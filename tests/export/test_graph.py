"""Graphs that are built node by node run in onnxruntime."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from longspan import activations
from longspan.export import activations as onnx_activations
from longspan.export.graph import IR_VERSION, OPSET, Graph

X = np.random.default_rng(0).normal(size=(4, 3), scale=2.0).astype(np.float32)


def run(graph: Graph, *inputs: np.ndarray) -> list[Any]:
    """The outputs of a graph on its inputs, in order."""
    content = graph.model("test").SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return list(session.run(None, dict(zip(names, inputs, strict=True))))


def of_one_input(build: Callable[[Graph, str], str], x: np.ndarray) -> np.ndarray:
    graph = Graph()
    graph.output("y", build(graph, graph.input("x", ("rows", x.shape[1]))), ("rows", "columns"))
    return run(graph, x)[0]


def test_nodes_and_constants() -> None:
    result = of_one_input(lambda g, x: g.add("Add", g.add("Mul", x, g.floats(2.0)), g.floats([1, 2, 3])), X)
    np.testing.assert_allclose(result, 2 * X + [1, 2, 3], rtol=1e-6)


def test_nodes_with_several_outputs() -> None:
    def build(graph: Graph, x: str) -> str:
        parts = graph.add("Split", x, axis=0, outputs=2)
        return graph.add("Sub", parts[1], parts[0])

    np.testing.assert_allclose(of_one_input(build, X), X[2:] - X[:2], rtol=1e-6)


def test_equal_small_constants_are_one() -> None:
    graph = Graph()
    assert graph.floats(0.5) == graph.floats(0.5) != graph.floats([0.5])
    assert graph.int_scalar(1) == graph.int_scalar(1) != graph.int_vector(1)
    assert graph.floats(np.zeros(20)) != graph.floats(np.zeros(20))  # weights keep names of their own


@pytest.mark.parametrize("backwards", [False, True])
def test_scan(backwards: bool) -> None:
    """A running sum: the last state, and the states of all steps in the order of reading."""
    graph = Graph()
    x = graph.input("x", ("time", 3))

    def step(total: str, row: str) -> list[str]:
        new = graph.add("Add", total, row)
        return [new, graph.add("Identity", new)]

    last, every = graph.scan(step, [graph.floats(np.zeros(3))], x, backwards=backwards)
    graph.output("last", last, (3,))
    graph.output("every", every, ("time", 3))
    sums = np.cumsum(X[::-1] if backwards else X, axis=0)
    outputs = run(graph, X)
    np.testing.assert_allclose(outputs[0], sums[-1], rtol=1e-5)
    np.testing.assert_allclose(outputs[1], sums, rtol=1e-5)


def test_inputs_of_integers_and_open_sizes() -> None:
    graph = Graph()
    ids = graph.input("ids", ("batch", "time"), integers=True)
    graph.output("rows", graph.add("Gather", graph.floats(X), ids, axis=0), ("batch", "time", 3))
    for ids_ in (np.array([[0, 3]]), np.array([[1], [2]])):
        np.testing.assert_array_equal(run(graph, ids_)[0], X[ids_])


def test_the_file_declares_its_versions() -> None:
    graph = Graph()
    graph.output("y", graph.add("Relu", graph.input("x", (2,))), (2,))
    model = graph.model("named")
    assert (model.graph.name, model.producer_name) == ("named", "longspan")
    assert (model.ir_version, model.opset_import[0].version) == (IR_VERSION, OPSET)


def test_a_wrong_graph_is_refused() -> None:
    graph = Graph()
    graph.output("y", graph.add("Relu", "nothing"), (2,))
    with pytest.raises(onnx.checker.ValidationError, match="nothing"):
        graph.model("wrong")


@pytest.mark.parametrize("name", [*onnx_activations._ACTIVATIONS, "linear"])
def test_activations(name: str) -> None:
    import torch

    result = of_one_input(lambda g, x: onnx_activations.activation(g, x, name), X)
    expected = activations.get(name)(torch.as_tensor(X))
    np.testing.assert_allclose(result, expected.numpy(), atol=1e-6, rtol=1e-5)


def test_an_activation_that_onnx_lacks() -> None:
    with pytest.raises(ValueError, match=r"activation: expected one of relu, .*, received 'sparsemax'"):
        onnx_activations.activation(Graph(), "x", "sparsemax")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'longspan\[onnx\]'"):
        Graph()
