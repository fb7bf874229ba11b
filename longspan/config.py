"""Holds Keras' settings: the small number beside divisors, the float dtype, the place of channels."""

from __future__ import annotations

import torch

from longspan import errors

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_FORMATS = ("channels_last", "channels_first")
_values = {"epsilon": 1e-7}  # beside divisors and in logarithms
_format = {"image": _FORMATS[0]}  # the place of channels where a layer's data_format is None
_limits: dict[str, int | None] = {"epochs": None, "steps": None}  # of fit of a model
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


def max_epochs() -> int | None:
    """The largest number of epochs that `fit` of a model trains; None for no limit."""
    return _limits["epochs"]


def set_max_epochs(max_epochs: int | None) -> None:
    """Set what `max_epochs` returns, such as 1 for a trial of a script; None for no limit."""
    way_out = "or None for no limit"
    _limits["epochs"] = None if max_epochs is None else errors.check_int("max_epochs", max_epochs, 1, way_out)


def max_steps_per_epoch() -> int | None:
    """The largest number of steps in an epoch of `fit` of a model; None for no limit."""
    return _limits["steps"]


def set_max_steps_per_epoch(max_steps_per_epoch: int | None) -> None:
    """Set what `max_steps_per_epoch` returns; None for no limit."""
    name, way_out = "max_steps_per_epoch", "or None for no limit"
    steps = max_steps_per_epoch
    _limits["steps"] = None if steps is None else errors.check_int(name, steps, 1, way_out)


def enable_interactive_logging() -> None:
    """Let callbacks print what they report, as they do at the start."""
    _logging["interactive"] = True


def disable_interactive_logging() -> None:
    """Let callbacks send what they report to the logger "longspan" instead of the terminal."""
    _logging["interactive"] = False


def is_interactive_logging_enabled() -> bool:
    """Whether callbacks print what they report."""
    return _logging["interactive"]
