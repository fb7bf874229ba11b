"""The test case that Keras' tests derive from, over longspan: checks of values, layers, configs."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import sys
import tempfile
import unittest
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from absl.testing import parameterized

from longspan import backend, losses, models, ops, saving
from longspan.layers.structure import is_shape
from longspan.layers.symbolic import KerasTensor

from . import tree

# A refusal in the words of this library: "argument: expected X, received Y; way out."
_SENTENCE = re.compile(r"(?s).+: expected .+, received .+; .+\.|.+ has no attribute .+")
test_case = test_utils = sys.modules[__name__]  # Keras has the names in modules of their own

Trainer = models.Model  # Keras' private base of its models


def no_accelerator() -> bool:
    """False: the tests run on the processor."""
    return False


uses_gpu = uses_tpu = jax_uses_gpu = jax_uses_tpu = no_accelerator
tensorflow_uses_gpu = tensorflow_uses_tpu = torch_uses_gpu = no_accelerator


def skip_if_backend(name: str, reason: str) -> Any:
    """A mark for tests that do not run on a backend of Keras'; this library is like Keras on PyTorch."""
    return pytest.mark.skipif(name == "torch", reason=reason)


def named_product(*cases: Iterable[dict[str, Any]], **values: Iterable[Any]) -> list[dict[str, Any]]:
    """Every combination of the cases and values, with the joined names as "testcase_name"."""
    named = [[{"testcase_name": _case_name(v), key: v} for v in each] for key, each in values.items()]
    product = []
    for parts in itertools.product(*cases, *named):
        merged = {key: value for part in parts for key, value in part.items()}
        product.append({**merged, "testcase_name": "_".join(part["testcase_name"] for part in parts)})
    return product


def _case_name(value: Any) -> str:
    return str(getattr(value, "__name__", value)).lower()


def to_numpy(x: Any) -> Any:
    """A tensor, or a list of numbers or tensors, as an array."""
    if isinstance(x, (list, tuple)):
        return np.array([to_numpy(part) for part in x])
    return x.detach().cpu().numpy() if isinstance(x, torch.Tensor) else np.asarray(x)


class TestCase(parameterized.TestCase):
    """unittest's test case with Keras' checks."""

    maxDiff = None

    def setUp(self) -> None:
        backend.clear_session()

    def get_temp_dir(self) -> str:
        folder = tempfile.mkdtemp()
        self.addCleanup(lambda: shutil.rmtree(folder))
        return folder

    def convert_to_numpy(self, x: Any) -> Any:
        return to_numpy(x)

    def assertAllClose(
        self, actual: Any, desired: Any, atol: float = 1e-6, rtol: float = 1e-6, msg: Any = None, **_: Any
    ) -> None:
        np.testing.assert_allclose(
            to_numpy(actual), to_numpy(desired), atol=atol, rtol=rtol, err_msg=msg or ""
        )

    def assertNotAllClose(
        self, x1: Any, x2: Any, atol: float = 1e-6, rtol: float = 1e-6, msg: Any = None
    ) -> None:
        close = to_numpy(x1).shape == to_numpy(x2).shape and np.allclose(
            to_numpy(x1), to_numpy(x2), rtol, atol
        )
        self.assertFalse(close, msg or "the values are close everywhere")

    def assertAlmostEqual(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, actual: Any, desired: Any, decimal: int = 3, msg: Any = None, **_: Any
    ) -> None:
        np.testing.assert_almost_equal(to_numpy(actual), to_numpy(desired), decimal, msg or "")

    def assertAllEqual(self, actual: Any, desired: Any, msg: Any = None) -> None:
        np.testing.assert_array_equal(to_numpy(actual), to_numpy(desired), msg or "")

    def assertLen(self, iterable: Any, expected_len: int, msg: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.assertEqual(len(iterable), expected_len, msg)

    def assertDType(self, x: Any, dtype: Any, msg: Any = None) -> None:
        self.assertEqual(
            backend.standardize_dtype(getattr(x, "dtype", type(x))), backend.standardize_dtype(dtype), msg
        )

    def assertSparse(self, x: Any, sparse: bool = True) -> None:
        self.assertFalse(sparse, "there are no sparse tensors")

    assertRagged = assertSparse

    def assertFileExists(self, path: str) -> None:
        self.assertTrue(Path(path).is_file(), f"{path} is not there")

    @contextmanager
    def assertRaisesRegex(self, kind: Any, expected_regex: Any, *args: Any, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """An error of the kind, with Keras' text or with a sentence in this library's own form."""
        refusals = (ValueError, TypeError, AttributeError) if kind in (ValueError, TypeError) else kind
        with self.assertRaises(refusals) as caught:
            yield caught
        text = str(caught.exception)
        self.assertFalse(text.startswith("absent name: "), text)
        if not re.search(expected_regex, text):
            self.assertRegex(text, _SENTENCE)

    # Configs.

    def run_class_serialization_test(self, instance: Any, custom_objects: Any = None) -> Any:
        """An object made from the config of another has the same config, also by way of JSON."""
        config = instance.get_config()
        with saving.custom_object_scope(custom_objects or {}):
            copy = type(instance).from_config(config)
            self.assertEqual(_json(copy.get_config()), _json(config))
            described = json.loads(_json(saving.serialize_keras_object(instance)))
            copy = saving.deserialize_keras_object(described)
        self.assertIs(type(copy), type(instance))
        self.assertEqual(_json(copy.get_config()), _json(config))
        return copy

    # Layers.

    def run_layer_test(
        self,
        layer_cls: Any,
        init_kwargs: Any,
        input_shape: Any = None,
        input_dtype: Any = None,
        input_sparse: bool = False,
        input_ragged: bool = False,
        input_data: Any = None,
        call_kwargs: Any = None,
        supports_masking: bool | None = None,
        custom_objects: Any = None,
        run_training_check: bool = True,
        run_mixed_precision_check: bool = True,
        assert_built_after_instantiation: bool = False,
        expected_mask_shape: Any = None,
        expected_num_seed_generators: int | None = None,
        **expected: Any,
    ) -> None:
        """Every check of Keras' own method that has a meaning here, in the same order."""
        if input_sparse or input_ragged:
            raise unittest.SkipTest("there are no sparse or ragged tensors")
        self.run_class_serialization_test(layer_cls(**init_kwargs), custom_objects)
        if supports_masking is not None:
            self.assertEqual(layer_cls(**init_kwargs).supports_masking, supports_masking)
        if input_data is None and input_shape is None:
            return
        call = _Call(self, lambda: layer_cls(**init_kwargs), call_kwargs or {}, expected)
        call.seeds = expected_num_seed_generators or 0
        if input_shape is not None:
            dtypes = input_dtype or _map_shapes(lambda _: "float32", input_shape)
            input_data = _map_shapes(_draw, input_shape, dtypes)
            symbols = _map_shapes(KerasTensor, input_shape, dtypes)
        else:
            symbols = tree.map_structure(
                lambda x: KerasTensor(tuple(ops.shape(x)), backend.standardize_dtype(x.dtype)), input_data
            )
        call.build(input_shape or tree.map_structure(lambda x: tuple(ops.shape(x)), input_data))
        call.on(symbols, eager=False)
        if expected_mask_shape is not None:
            mask = layer_cls(**init_kwargs).compute_mask(symbols)
            self.assertEqual(expected_mask_shape, mask.shape)
        output = call.on(input_data, eager=True)
        if run_training_check:
            call.fit(input_data, output)


class _Call:
    """Calls of fresh layers of one kind, with the checks of their weights and outputs."""

    def __init__(self, case: TestCase, make: Callable[[], Any], arguments: Any, expected: Any) -> None:
        self._case, self._make, self._arguments, self._expected = case, make, arguments, expected
        self.seeds = 0

    def build(self, shapes: Any) -> None:
        layer = self._make()
        if isinstance(shapes, dict):
            layer.build(**shapes)
        else:
            layer.build(shapes)
        self._check_weights(layer)

    def on(self, inputs: Any, *, eager: bool) -> Any:
        layer = self._make()
        if isinstance(inputs, dict):
            inputs = {key.removesuffix("_shape"): value for key, value in inputs.items()}
            output = layer(**inputs, **self._arguments)
        else:
            output = layer(inputs, **self._arguments)
        self._check_weights(layer)
        self._check_output(layer, output, eager=eager)
        return output

    def _check_weights(self, layer: Any) -> None:
        self._case.assertTrue(layer.built)
        for kind in ("trainable_weights", "non_trainable_weights"):
            count = self._expected.get(f"expected_num_{kind}")
            if count is not None:
                self._case.assertLen(getattr(layer, kind), count, f"number of {kind}")
        count = self._expected.get("expected_num_non_trainable_variables")
        if count is not None:  # in Keras the states of random generators are among them
            self._case.assertLen(layer.non_trainable_variables, count - self.seeds)

    def _check_output(self, layer: Any, output: Any, *, eager: bool) -> None:
        shapes = self._expected.get("expected_output_shape")
        if shapes is not None:
            actual = [tuple(part.shape) for part in tree.flatten(output)]
            wanted = (
                [shapes]
                if is_shape(shapes)
                else list(shapes.values() if isinstance(shapes, dict) else shapes)
            )
            self._case.assertEqual(len(actual), len(wanted))
            for a, b in zip(actual, wanted, strict=True):
                fits = len(a) == len(b) and all(y is None or x == y for x, y in zip(a, b, strict=True))
                self._case.assertTrue(fits, f"output shape {a}, expected {b}")
        dtypes = self._expected.get("expected_output_dtype")
        if dtypes is not None:
            actual = [backend.standardize_dtype(part.dtype) for part in tree.flatten(output)]
            self._case.assertEqual(actual, tree.flatten(dtypes))
        values = self._expected.get("expected_output")
        if eager and values is not None:
            for a, b in zip(tree.flatten(output), tree.flatten(values), strict=True):
                self._case.assertAllClose(a, b, msg="unexpected output")
        count = self._expected.get("expected_num_losses")
        if eager and count is not None:
            self._case.assertLen(layer.losses, count)

    def fit(self, inputs: Any, output: Any) -> None:
        model = _Around(self._make())
        data = tree.map_structure(to_numpy, (inputs, output))

        def forever() -> Any:
            while True:
                yield data

        model.compile(optimizer="sgd", loss=_Sum())
        model.fit(forever(), steps_per_epoch=1, verbose=0)


class _Around(models.Model):
    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def call(self, x: Any, training: bool = False) -> Any:
        return self.layer(x, training=training)


class _Sum(losses.Loss):
    def call(self, y_true: Any, y_pred: Any) -> Any:
        return ops.sum(y_pred)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None) -> Any:
        return self.call(y_true, y_pred)


def _draw(shape: Any, dtype: str) -> Any:
    return ops.cast(torch.rand(tuple(shape)) * 3, dtype)


def _map_shapes(function: Callable[..., Any], shapes: Any, *others: Any) -> Any:
    if is_shape(shapes):
        return function(tuple(shapes), *others)
    if isinstance(shapes, dict):
        return {
            key.removesuffix("_shape"): _map_shapes(
                function, shape, *(other[key.removesuffix("_shape")] for other in others)
            )
            for key, shape in shapes.items()
        }
    parts = [_map_shapes(function, *each) for each in zip(shapes, *others, strict=True)]
    return type(shapes)(parts)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=saving.serialize_keras_object)


def get_test_data(
    train_samples: int, test_samples: int, input_shape: Any, num_classes: int, random_seed: Any = None
) -> Any:
    """Rows around a template of their class, in equal shares, for training and for testing."""
    rng = np.random.default_rng(random_seed)
    templates = 2 * num_classes * rng.random((num_classes, *input_shape))
    y = rng.permutation(np.arange(train_samples + test_samples) % num_classes)
    x = (templates[y] + rng.normal(size=(len(y), *input_shape))).astype("float32")
    return (x[:train_samples], y[:train_samples]), (x[train_samples:], y[train_samples:])
