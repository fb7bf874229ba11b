"""The compiled kernels; csrc/bind.cpp says what each function takes."""

from typing import Any

def __getattr__(name: str) -> Any: ...
