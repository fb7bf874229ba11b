"""Knows how models and weights leave and come in: Keras' files, torch.nn's state dicts, ONNX."""

from .keras import KerasFile, read_keras, to_keras
from .layer_info import described_layers
from .onnx import to_onnx
from .torch import from_torch, to_torch

__all__ = ["KerasFile", "described_layers", "from_torch", "read_keras", "to_keras", "to_onnx", "to_torch"]
