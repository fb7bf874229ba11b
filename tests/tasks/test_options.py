from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from docs.builder.options import outdated
from longspan.tasks.options import Configurable, as_text, option, options_of


@dataclass(eq=False, repr=False)
class Featured(Configurable):
    name = "featured"
    features: Callable[[Tensor], Any] | str | None = option(None, "features")  # noqa: RUF009 it makes a field


def test_a_function_may_be_the_value_of_an_option() -> None:
    Featured(options_of).check()
    Featured("module:function").check()
    with pytest.raises(TypeError, match="features: expected a function, or text, or none, received int"):
        Featured(3).check()  # pyright: ignore[reportArgumentType]
    assert as_text(options_of) == "longspan.tasks.options:options_of"
    assert Featured(options_of).to_string() == "features=longspan.tasks.options:options_of"
    assert Featured.from_string("features=a.onnx").features == "a.onnx"


def test_docstrings_hold_the_options_for_editors() -> None:
    assert not outdated(), "run make options"
