"""Holds Keras' settings: the small number beside divisors, the float dtype, the place of channels."""

from __future__ import annotations

import torch

from longspan import errors

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_FORMATS = ("channels_last", "channels_first")
_values = {"epsilon": 1e-7}  # beside divisors and in logarithms
_format = {"image": _FORMATS[0]}  # the place of channels where a layer's data_format is None
_logging = {"interactive": True}  # whether callbacks print, or write to the logger "longspan"


def epsilon() -> float:
    """The small number that losses, metrics, constraints and `longspan.ops` put beside divisors.

    >>> epsilon()
    1e-07
    """
    return _values["epsilon"]


def set_epsilon(value: float) -> None:
    """Set what `epsilon` returns, a number above 0."""
    if not errors.check_non_negative("value", value, "give a small number, such as 1e-7"):
        raise errors.value_error("value", "a number above 0", value, "give a small number, such as 1e-7")
    _values["epsilon"] = float(value)


def floatx() -> str:
    """The dtype of new weights and of tensors made of Python's numbers: torch's default dtype.

    >>> floatx()
    'float32'
    """
    return str(torch.get_default_dtype()).removeprefix("torch.")


def set_floatx(value: str) -> None:
    """Set what `floatx` returns, "float32" or "float64", which sets torch's default dtype.

    Raises:
        ValueError: another dtype; half precision is an option of fit.
    """
    if value not in _DTYPES:
        way_out = "for half precision call fit(precision='bf16-mixed')"
        raise errors.value_error("value", "'float32' or 'float64'", repr(value), way_out)
    torch.set_default_dtype(_DTYPES[value])


def image_data_format() -> str:
    """Where the channels of images are where a layer is not told: "channels_last" or "channels_first"."""
    return _format["image"]


def set_image_data_format(data_format: str) -> None:
    """Set what `image_data_format` returns."""
    _format["image"] = errors.check_choice("data_format", data_format, _FORMATS)


def backend() -> str:
    """The library that computes: "torch"."""
    return "torch"


def enable_interactive_logging() -> None:
    """Let callbacks print what they report, as they do at the start."""
    _logging["interactive"] = True


def disable_interactive_logging() -> None:
    """Let callbacks send what they report to the logger "longspan" instead of the terminal."""
    _logging["interactive"] = False


def is_interactive_logging_enabled() -> bool:
    """Whether callbacks print what they report."""
    return _logging["interactive"]
