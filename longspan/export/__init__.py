"""Exchanges models and weights with others: Keras' files, torch.nn's state dicts, ONNX graphs."""

from .keras import KerasFile, read_keras, to_keras
from .layer_info import described_layers
from .onnx import to_onnx
from .torch import from_torch, to_torch

__all__ = ["KerasFile", "described_layers", "from_torch", "read_keras", "to_keras", "to_onnx", "to_torch"]
