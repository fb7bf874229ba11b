from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from longspan.data.frame_features import FrameFeatures

CALLS: list[int] = []
FRAMES = torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)


def mean_colours(frames: Tensor) -> Tensor:
    CALLS.append(len(frames))
    return frames.mean((2, 3))


def onnx_file(path: Path, rows: int | str = "n") -> Path:
    """Means over height and width of each channel."""
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "means",
        [helper.make_tensor_value_info("x", kind, [rows, 3, 4, 4])],
        [helper.make_tensor_value_info("y", kind, [rows, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_function_gives_features_of_values_from_0_to_1() -> None:
    torch.testing.assert_close(FrameFeatures(mean_colours)(FRAMES), FRAMES.float().mean((2, 3)) / 255)
    numpy = FrameFeatures(lambda frames: frames.numpy()[:, :, :2, :2].astype(np.float64))
    assert numpy(FRAMES).dtype == torch.float32
    assert numpy(FRAMES).shape == (2, 3, 2, 2)


def test_features_are_kept_on_disk(tmp_path: Path) -> None:
    CALLS.clear()
    features = FrameFeatures(mean_colours, tmp_path / "cache")
    first = features(FRAMES)
    torch.testing.assert_close(features(FRAMES), first, rtol=0, atol=0)
    assert CALLS == [2]
    features(FRAMES[:1])
    assert CALLS == [2, 1]
    for file in (tmp_path / "cache").iterdir():
        file.write_bytes(b"damaged")
    torch.testing.assert_close(features(FRAMES), first, rtol=0, atol=0)
    assert CALLS == [2, 1, 2]


def test_another_model_does_not_read_the_same_entry(tmp_path: Path) -> None:
    networks = [nn.Sequential(nn.Flatten(), nn.Linear(48, 2)) for _ in range(2)]
    apart = [FrameFeatures(network, tmp_path)(FRAMES) for network in networks]
    assert not torch.equal(*apart)
    torch.testing.assert_close(FrameFeatures(networks[1], tmp_path)(FRAMES), apart[1])


@pytest.mark.parametrize("rows", ["n", 1])
def test_an_onnx_file_gives_features_and_is_saved_whole(tmp_path: Path, rows: int | str) -> None:
    pytest.importorskip("onnxruntime")
    path = onnx_file(tmp_path / "a.onnx", rows)
    features = FrameFeatures(str(path))
    torch.testing.assert_close(features(FRAMES), FRAMES.float().mean((2, 3)) / 255)
    state = features.state()
    path.unlink()
    torch.testing.assert_close(FrameFeatures.from_state(state)(FRAMES), features(FRAMES))
    with pytest.raises(ValueError, match=r"features: expected frames of shape .* received frames of shape"):
        features(torch.zeros(1, 3, 5, 5, dtype=torch.uint8))


def test_a_function_is_saved_by_its_name() -> None:
    state = FrameFeatures("torch.nn.functional:relu").state()
    torch.testing.assert_close(FrameFeatures.from_state(state)(FRAMES), FRAMES.float() / 255)
    with pytest.raises(ValueError, match="features: expected a function that can be imported"):
        FrameFeatures(lambda frames: frames).state()


@pytest.mark.parametrize("model", ["no_module:function", "math:nothing", "math", "torch.nn:Module"])
def test_models_that_are_not_there(model: str) -> None:
    with pytest.raises(ValueError, match="features: expected a function that can be imported"):
        FrameFeatures(model)


def test_bad_models(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(FileNotFoundError, match="features: expected an ONNX file"):
        FrameFeatures(str(tmp_path / "a.onnx"))
    (tmp_path / "a.onnx").write_bytes(b"no model")
    with pytest.raises(ValueError, match="features: expected an ONNX file, received what onnxruntime cannot"):
        FrameFeatures(str(tmp_path / "a.onnx"))
    with pytest.raises(ValueError, match=r"features: expected \(2, F\) .* received shape \(3,\)"):
        FrameFeatures(lambda frames: frames.mean((0, 2, 3)))(FRAMES)
    with pytest.raises(TypeError, match="features: expected a function"):
        FrameFeatures(3)  # pyright: ignore[reportArgumentType]
