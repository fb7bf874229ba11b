"""A saved task loads only with options and weights that it could have been saved with."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

import longspan
from longspan import artifact, errors
from longspan.tasks.fitting import check_device

DRAWS = 60  # files made by hand of each task
STRANGE = [None, -1, 10**9, "x", [], {}, [[1, 2]], True, 1.5, -1e300, 0, "../x", 10**30, {"tensor": "x"}]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> artifact.Artifact:
    """What a small classifier is saved as."""
    path = tmp_path_factory.mktemp("saved") / "model"
    model = longspan.Classifier(hidden_size=4, embedding_size=4, ensemble_size=1, epochs=1, subword_buckets=8)
    model.set_params(validation_fraction=0.0).fit(["a good film", "bad"] * 8, ["x", "y"] * 8, verbose=0)
    model.save(path)
    return artifact.load(path)


def reload(path: Path, config: Any, tensors: dict[str, torch.Tensor]) -> Any:
    artifact.save(path / "model", config, tensors)
    return longspan.load(path / "model")


def with_option(config: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    (option,) = [pair for pair in changed["options"]["dict"] if pair[0] == name]
    option[1] = value
    return changed


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_layers", 1_000_000),
        ("hidden_size", 60_000),
        ("hidden_size", 10**12),
        ("hidden_size", "4"),
        ("dropout", -1.0),
        ("cell", "none of ours"),
        ("batch_size", None),
    ],
)
def test_options_are_checked_before_a_network_is_built(
    name: str, value: Any, saved: artifact.Artifact, tmp_path: Path
):
    with pytest.raises(
        ValueError, match="expected a whole saved model, received a truncated, damaged or for"
    ):
        reload(tmp_path, with_option(saved.config, name, value), saved.tensors)


def test_an_option_that_is_not_one_and_weights_too_few_or_too_many(saved: artifact.Artifact, tmp_path: Path):
    unknown = copy.deepcopy(saved.config)
    unknown["options"]["dict"].append(["evil", 1])
    name = next(name for name in saved.tensors if name.startswith("network."))
    for config, tensors in [
        (unknown, saved.tensors),
        (saved.config, {**saved.tensors, "network.more": torch.ones(1)}),
        (saved.config, {key: value for key, value in saved.tensors.items() if key != name}),
        (saved.config, {**saved.tensors, name: torch.ones(2, 2, 2)}),
    ]:
        with pytest.raises(ValueError, match="expected a whole saved model"):
            reload(tmp_path, config, tensors)


def test_a_device_that_is_missing_here_is_dropped_with_a_warning(saved: artifact.Artifact, tmp_path: Path):
    with pytest.warns(errors.LongspanWarning, match="trained on the device tpu, which is not there"):
        model = reload(tmp_path, with_option(saved.config, "device", "tpu"), saved.tensors)
    assert model.device is None and len(model.predict(["good"])) == 1


def paths(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in nested dicts and lists."""
    if isinstance(tree, (dict, list)):
        for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield (*path, key)
            yield from paths(value, (*path, key))


def mutated(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """The config with one value changed or left out."""
    random, changed = Random(seed), copy.deepcopy(config)
    *outer, last = random.choice(list(paths(changed)))
    parent: Any = changed
    for key in outer:
        parent = parent[key]
    if random.random() < 0.2:
        del parent[last]
    else:
        parent[last] = random.choice(STRANGE)
    return changed


@pytest.mark.filterwarnings("ignore::longspan.errors.LongspanWarning")
@pytest.mark.parametrize("start", range(0, 200, 40))
def test_a_mutated_config_loads_or_is_refused_in_one_sentence(
    start: int, saved: artifact.Artifact, tmp_path: Path
):
    refused = 0
    for seed in range(start, start + 40):
        try:
            reload(tmp_path, mutated(saved.config, seed), saved.tensors)
        except ValueError as error:
            refused += 1
            assert str(error).startswith(f"file {tmp_path / 'model'}: expected a ") and "\n" not in str(error)
    assert refused >= 10


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta", "nothing at all", ""])
def test_a_device_that_cannot_compute_is_one_sentence(device: str):
    with pytest.raises(
        ValueError, match=r"^device: expected one of cpu.*, received '.*'; choose one or none\.$"
    ):
        check_device("device", device)
    check_device("device", "cpu")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"device": "tpu"}, "device: expected one of cpu"),
        (
            {"hidden_size": 999_999_999},
            "hidden_size: expected a whole number of at most 65536, received 9999",
        ),
        (
            {"seed": 10**19},
            "seed: expected a whole number of at most 4294967295, received 1000000000000000000",
        ),
        ({"seed": -1}, "seed: expected a whole number of at least 0, received -1"),
    ],
)
def test_invalid_options_are_refused_before_the_source_is_read(options: Any, sentence: str):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        longspan.Forecaster(**options).fit("no file")


def test_a_checkpoint_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path):
    with pytest.raises(ValueError, match=r"^resume: expected a file or a new name, received a folder"):
        longspan.Forecaster().fit("no file", resume=tmp_path)


# ---- files made by hand, of every task


def _forecaster(series: Any) -> Any:
    options = {"horizon": 2, "context_length": 4, "hidden_size": 4, "epochs": 1, "calendar": True}
    table = {"day": [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(56)], "v": series}
    return longspan.Forecaster(**options).fit(table, verbose=0)


def _detector(series: Any) -> Any:
    table = {"v": series, "mode": ["on", "off"] * 28}
    return longspan.AnomalyDetector(hidden_size=4, epochs=1, context_length=4).fit(table, verbose=0)


def _classifier(series: Any) -> Any:
    model = longspan.Classifier(hidden_size=4, ensemble_size=1, epochs=1, validation_fraction=0.0)
    return model.fit([series[place : place + 6, None] for place in range(40)], ["x", "y"] * 20, verbose=0)


MADE = {"forecaster": _forecaster, "detector": _detector, "classifier": _classifier}
ASKED = {  # what a loaded model is asked
    "forecaster": lambda model: (model.predict(), model.predict({"day": ["2024-03-01"], "v": [1.0]})),
    "detector": lambda model: model.predict({"v": [0.1, None], "mode": ["on", "new"]}),
    "classifier": lambda model: (model.predict_proba([np.ones((3, 1))]), model.predict([np.ones((9, 1))])),
}


@pytest.fixture(scope="module", params=list(MADE))
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Any]:
    """A small model of each task as it is saved."""
    path = tmp_path_factory.mktemp("kept") / "model"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)
        MADE[request.param](np.sin(np.arange(56) / 3)).save(path)
    return request.param, artifact.load(path)


def changed_tensors(tensors: dict[str, torch.Tensor], random: Random) -> dict[str, torch.Tensor]:
    """The tensors with one of another shape, type or content, or left out."""
    name = random.choice(sorted(tensors))
    value = tensors[name]
    others = [value.flatten()[:-1], value[None], value.to(torch.int64), value * torch.nan, value.bool(), None]
    other = random.choice(others)
    rest = {key: tensor for key, tensor in tensors.items() if key != name}
    return rest if other is None else {**rest, name: other}


@pytest.mark.filterwarnings("ignore")
def test_a_model_made_by_hand_answers_or_is_one_sentence(kept: tuple[str, Any], tmp_path: Path):
    kind, saved = kept
    refused = 0
    for seed in range(DRAWS):
        random = Random(seed)
        config = saved.config if seed % 3 == 0 else mutated(saved.config, seed)
        tensors = changed_tensors(saved.tensors, random) if seed % 3 == 0 else saved.tensors
        try:
            ASKED[kind](reload(tmp_path, config, tensors))
        except (ValueError, TypeError) as error:
            refused += 1
            assert ": expected " in str(error) and "\n" not in str(error), (seed, repr(error))
    assert refused > DRAWS // 10


@pytest.mark.parametrize("seed", range(30))
def test_bytes_that_change_are_one_sentence(seed: int, kept: tuple[str, Any], tmp_path: Path):
    path, random = tmp_path / "model", Random(seed)
    artifact.save(path, *kept[1])
    content = bytearray(path.read_bytes())
    for _ in range(random.choice([1, 1, 5])):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content[: random.choice([len(content), len(content), random.randrange(len(content))])])
    try:
        ASKED[kept[0]](longspan.load(path))
    except ValueError as error:
        assert str(error).startswith(f"file {path}: expected ") and "\n" not in str(error)


def test_a_file_of_another_class_is_refused_by_the_class_that_is_named(tmp_path: Path) -> None:
    waves = np.sin(np.arange(80) / 4) + 0.05 * np.arange(80)
    forecaster = longspan.Forecaster(horizon=2, context_length=8, epochs=1).fit(waves, verbose=0)
    forecaster.save(tmp_path / "model")
    named = longspan.load(tmp_path / "model", longspan.Forecaster)
    assert named.predict().equals(forecaster.predict())
    with pytest.raises(ValueError, match=r"expected a saved Classifier, received Forecaster; load it as a"):
        longspan.load(tmp_path / "model", longspan.Classifier)
