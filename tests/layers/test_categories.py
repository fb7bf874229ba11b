"""Texts and numbers as numbers of categories: vocabularies, and hashes equal to TensorFlow's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from longspan import layers
from longspan.layers.fingerprints import fingerprint, keyed_hash
from longspan.models import Model, Sequential, load_model


def test_hashes_are_those_of_the_references() -> None:
    # 0xa129… is the value of the paper's appendix A; the others are TensorFlow's.
    key = tuple(int.from_bytes(bytes(range(i, i + 8)), "little") for i in (0, 8))
    assert keyed_hash(bytes(range(15)).decode(), key) == 0xA129CA6149BE45E5
    assert [fingerprint(str(n)) % 4 for n in (100, 200, 300, 400)] == [3, 1, 3, 1]
    words = ["A", "B", "C", "D", "E"]
    assert layers.Hashing(3)(words).tolist() == [1, 0, 1, 1, 2]
    assert layers.Hashing(3, salt=[133, 137])(words).tolist() == [1, 2, 1, 0, 2]
    assert layers.Hashing(3, salt=133)(words).tolist() == [0, 0, 2, 1, 0]
    lengths = (0, 3, 7, 16, 17, 32, 33, 64, 65, 128, 200)
    assert len({fingerprint("x" * length) for length in lengths}) == len(lengths)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0], [0], [1]]),
        ({"num_bins": 3, "mask_value": "omar"}, [[0], [1], [2]]),
        ({"output_mode": "one_hot"}, [[1, 0], [1, 0], [0, 1]]),
        ({"num_bins": 1}, [[0], [0], [0]]),
    ],
)
def test_bins_of_a_hash(options: dict[str, Any], expected: Any) -> None:
    chosen: dict[str, Any] = {"num_bins": 2, **options}
    layer = layers.Hashing(**chosen)
    assert layer([["omar"], ["stringer"], ["marlo"]]).tolist() == expected
    shape = layer.compute_output_shape((None, 1))
    assert tuple(np.asarray(expected).shape[1:]) == shape[1:]


def test_vectors_of_hashes() -> None:
    rows = torch.tensor([[1, 1, 2], [3, 3, 3]])
    assert layers.Hashing(4, output_mode="count")(rows).sum(1).tolist() == [3, 3]
    assert layers.Hashing(4, output_mode="multi_hot")(rows).max() == 1
    refused: list[dict[str, Any]] = [
        {"num_bins": 0}, {"num_bins": 2, "salt": "a"}, {"num_bins": 2, "sparse": True},
    ]  # fmt: skip
    for wrong in refused:
        with pytest.raises(ValueError, match="expected"):
            layers.Hashing(**wrong)
    with pytest.raises(TypeError, match="expected texts or whole numbers"):
        layers.Hashing(2)([0.5])


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[1, 2, 0], [1, 1, 0]]),
        ({"mask_token": "-"}, [[2, 3, 0], [2, 2, 1]]),
        ({"output_mode": "multi_hot"}, [[1, 1, 1, 0], [1, 1, 0, 0]]),
        ({"output_mode": "count", "mask_token": "-"}, [[0, 1, 1, 0], [1, 2, 0, 0]]),
        (
            {"output_mode": "count", "max_tokens": 5, "pad_to_max_tokens": True},
            [[1, 1, 1, 0, 0], [1, 2, 0, 0, 0]],
        ),
        ({"output_mode": "tf_idf", "idf_weights": [2.0, 4.0, 6.0]}, [[4, 2, 4, 0], [4, 4, 0, 0]]),
    ],
)
def test_texts_by_a_vocabulary(options: dict[str, Any], expected: Any) -> None:
    layer = layers.StringLookup(vocabulary=["a", "b", "c"], **options)
    assert layer([["a", "b", "-"], ["a", "a", "z"]]).tolist() == expected
    again = layers.StringLookup.from_config(layer.get_config())
    assert again(np.array([["a", "b", "-"], ["a", "a", "z"]])).tolist() == expected


def test_adapting_takes_the_most_frequent_first(tmp_path: Path) -> None:
    layer = layers.StringLookup(max_tokens=3)
    layer.adapt(["b", "a", "b", "c", "c", "c", "[UNK]"])
    assert layer.get_vocabulary() == ["[UNK]", "c", "b"] and layer.vocabulary_size() == 3
    layer.adapt((["x"] for _ in range(9)), steps=2)
    assert layer.get_vocabulary(include_special_tokens=False) == ["x"]
    weighted = layers.IntegerLookup(output_mode="tf_idf")
    weighted.adapt([1, 1, 1, 2, 2, 3])
    torch.testing.assert_close(weighted([1, 2, 4]), torch.tensor([1.133732, 0.916291, 1.098612, 0.0]))
    (tmp_path / "words").write_text("a\nb\n")
    read = layers.StringLookup(vocabulary=str(tmp_path / "words"))
    Sequential([read], name="row").save(tmp_path / "m.ls")
    assert load_model(tmp_path / "m.ls").layers[0].get_vocabulary() == ["[UNK]", "a", "b"]


def test_numbers_by_a_vocabulary() -> None:
    three = layers.IntegerLookup(vocabulary=[10, 20], num_oov_indices=3)
    assert three([10, 20, 7, 5]).tolist() == [3, 4, 1, 2]
    hashed = layers.IntegerLookup(vocabulary=[10], num_oov_indices=4, oov_method="farmhash")
    assert hashed([100, 200]).tolist() == [3, 1]
    salted = layers.IntegerLookup(vocabulary=[10], num_oov_indices=4, oov_method="farmhash", salt=[137, 42])
    values = list(range(100, 120))
    assert salted(values).tolist() != hashed(values).tolist()
    back = layers.IntegerLookup(vocabulary=[10, 20], invert=True)
    assert back([1, 2, 0]).tolist() == [10, 20, -1] and back(torch.tensor([[1]])).shape == (1, 1)
    assert layers.StringLookup(vocabulary=["a"], invert=True)([[1, 0]]) == [["a", "[UNK]"]]
    x = layers.Input((2,), dtype="int64")
    model = Model(x, layers.Dense(1)(layers.IntegerLookup(vocabulary=[3, 4], output_mode="one_hot")(x)))
    assert model(torch.tensor([[3, 9]])).shape == (1, 2, 1) and model.output_shape == (None, 2, 1)


WRONG: dict[str, Any] = {
    "twice": lambda: layers.StringLookup(vocabulary=["a", "a"]),
    "too many": lambda: layers.StringLookup(vocabulary=["a", "b"], max_tokens=2),
    "too few tokens": lambda: layers.IntegerLookup(max_tokens=1),
    "no weights": lambda: layers.StringLookup(vocabulary=["a"], output_mode="tf_idf"),
    "weights alone": lambda: layers.StringLookup(vocabulary=["a"], idf_weights=[1.0]),
    "inverted vectors": lambda: layers.StringLookup(invert=True, output_mode="count"),
    "padding to nothing": lambda: layers.StringLookup(pad_to_max_tokens=True),
    "salt of remainders": lambda: layers.IntegerLookup(salt=3),
    "sparse": lambda: layers.StringLookup(sparse=True, output_mode="count"),
    "encoding": lambda: layers.StringLookup(encoding="latin-1"),
    "dtype": lambda: layers.IntegerLookup(vocabulary_dtype="int32"),
    "unknown": lambda: layers.StringLookup(vocabulary=["a"], num_oov_indices=0)(["b"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_refusals(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected .*, received .*; .*\."):
        WRONG[name]()


@pytest.mark.parametrize(
    ("mode", "shape", "expected"),
    [
        ("int", (2, 3), (2, 3)),
        ("one_hot", (2, 1), (2, 4)),
        ("one_hot", (2, 3), (2, 3, 4)),
        ("multi_hot", (2, 3), (2, 4)),
        ("count", (2, 3, 5), (2, 5, 4)),
    ],
)
def test_forms_of_bins(mode: str, shape: tuple[int, ...], expected: tuple[int, ...]) -> None:
    layer = layers.Discretization([0.0, 1.0, 2.0], output_mode=mode)
    found = layer(torch.linspace(-1, 3, int(np.prod(shape))).reshape(shape))
    assert found.shape == layer.compute_output_shape(shape) == expected


def test_bins_of_batches() -> None:
    whole, parts = layers.Discretization(num_bins=3), layers.Discretization(num_bins=3)
    whole.adapt(np.arange(9.0))
    parts.adapt((np.arange(start, start + 3.0) for start in (0, 3, 6, 99)), steps=3)
    assert whole.bin_boundaries == parts.bin_boundaries


def test_normalization_of_a_data_set_by_numbers() -> None:
    class Numbered:
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: int) -> Any:
            return np.full((2, 1), index + 1.0), None

    layer = layers.Normalization()
    layer.adapt(Numbered())
    assert layer.mean.tolist() == [1.5]
    with pytest.raises(ValueError, match=r"data of .*: expected shape \(None, 1\), received \(2, 3\)"):
        layer.adapt(np.zeros((2, 3)))


def test_weights_without_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="count_weights: expected None without"):
        layers.CategoryEncoding(3)(torch.tensor([1, 2]), count_weights=[1.0, 2.0])
    with pytest.raises(ValueError, match="sparse of"):
        layers.CategoryEncoding(3, sparse=True)
