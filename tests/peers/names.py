"""Answers the imports of Keras' test files with longspan's names, as a package `keras_names`.

A test file of Keras imports from Keras' private modules, such as keras.src.layers.rnn.lstm. Here every such
module exists: its names are those of longspan's public module that Keras' first folder is called after
("layers"), or of this adapter ("testing"). A name that longspan does not have is an `Absent`: the file is
collected, and only the tests that use the name fail.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

ROOT = "keras_names"
OUTSIDE = (
    "tensorflow",
    "tensorflow_io",
    "jax",
    "flax",
    "grain",
    "openvino",
)  # packages that no test here has

# Keras' first folder -> the modules that have its names, in order; "" is Keras itself.
HOMES: dict[str, tuple[str, ...]] = {
    "": ("longspan",),
    "backend": ("tests.peers.backend", "longspan.backend", "longspan.config", "longspan.ops"),
    "losses": ("longspan.losses", "tests.peers.backend"),
    "dtype_policies": ("tests.peers.policies",),
    "models": ("longspan.models", "tests.peers.models", "longspan"),
    "saving": ("longspan.saving", "longspan.models"),
    "testing": ("tests.peers.testing",),
    "utils": ("longspan.utils", "tests.peers.files", "longspan.config"),
    "tree": ("tests.peers.tree",),
    "conftest": ("tests.peers.testing",),
    "trainers": ("tests.peers.testing", "longspan.models", "longspan.utils"),
    "random": ("longspan.random", "tests.peers.random"),
    "ops": ("longspan.ops", "tests.peers.backend"),
}
# Keras' folder -> a folder whose names a deeper path takes instead.
_DEEPER: dict[tuple[str, ...], str] = {
    ("optimizers", "schedules"): "longspan.optimizers.schedules",
    ("backend", "torch"): "tests.peers.models",
    ("backend", "random"): "tests.peers.random",
    ("ops", "random"): "tests.peers.random",
}
_IMPORT = re.compile(r"^(\s*)(from|import)\s+([\w.]+)(.*)$")


class _State:
    """Whether test files are being imported: then a call of an absent name gives an absent value."""

    collecting = True


class Absent:
    """A name of Keras that longspan does not have: using it in a test is an AttributeError."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (not _State.collecting and name.startswith("_")):
            raise AttributeError(name)
        return Absent(f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self if _State.collecting else self._fail()

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return () if _State.collecting else self._fail()

    def __iter__(self) -> NoReturn:
        self._fail()

    def __enter__(self) -> NoReturn:
        self._fail()

    def __exit__(self, *args: Any) -> None:
        """Never reached."""

    def _fail(self) -> NoReturn:
        raise AttributeError(f"absent name: {self._path}")


class _Names(ModuleType):
    """A module of Keras by its path below keras.src, with longspan's names."""

    def __init__(self, name: str, path: tuple[str, ...], source: Path) -> None:
        super().__init__(name)
        self.__dict__.update(_path=path, _source=source, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        path: tuple[str, ...] = self.__dict__["_path"]
        homes = self._homes(path)
        source: Path = self.__dict__["_source"]
        is_module = source.joinpath(*path, name).is_dir() or source.joinpath(*path, f"{name}.py").is_file()
        if not is_module or (path and name not in ("losses", "metrics")):
            for home in homes:
                value = _attribute(home, name)
                if value is not None and not (is_module and isinstance(value, ModuleType)):
                    return value
        if is_module:
            return importlib.import_module(".".join((ROOT, *path, name)))
        return Absent(".".join((*path, name)))

    def _homes(self, path: tuple[str, ...]) -> tuple[str, ...]:
        first = path[0] if path else ""
        deeper = _DEEPER.get(path[:2])
        return ((deeper,) if deeper else ()) + HOMES.get(first, (f"longspan.{first}",))


def _attribute(home: str, name: str) -> Any:
    """A module's public attribute, None where the module or the attribute is not there."""
    if importlib.util.find_spec(home) is None:
        return None
    module = importlib.import_module(home)
    public = getattr(module, "__all__", None)
    if public is not None and name not in public and home.startswith("longspan"):
        return None
    return getattr(module, name, None)


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the modules of `keras_names`: test files in a folder, else longspan's names.

    Args:
        tests: the folder of the rewritten test files.
        source: the folder keras/src of the checkout, which tells a module's name from another name.
    """

    def __init__(self, tests: Path, source: Path) -> None:
        self._tests, self._source = tests, source

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        if fullname != ROOT and not fullname.startswith(ROOT + "."):
            return None
        parts = tuple(fullname.split(".")[1:])
        file = self._tests.joinpath(*parts).with_suffix(".py") if parts else self._tests
        if parts and parts[-1].endswith("_test") and file.is_file():
            return importlib.util.spec_from_file_location(fullname, file)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: Any) -> Any:
        parts = tuple(spec.name.split(".")[1:])
        if parts[:1] == ("outside",):
            return _Outside(spec.name, parts[1:])
        return _Names(spec.name, parts, self._source)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: the names are found as they are asked for."""


class _Outside(ModuleType):
    """A package that is not there, such as tensorflow."""

    def __init__(self, name: str, path: tuple[str, ...]) -> None:
        super().__init__(name)
        self.__dict__.update(_path=path, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(".".join((*self.__dict__["_path"], name)))


def rewrite(text: str) -> str:
    """A test file's text with its imports of Keras changed to `keras_names`; everything else as it is.

    >>> rewrite("from keras.src.layers import LSTM")
    'from keras_names.layers import LSTM'
    >>> rewrite("import keras"), rewrite("import tensorflow as tf")
    ('import keras_names as keras', 'from keras_names.outside import tensorflow as tf')
    """
    return "\n".join(_rewritten(line) for line in text.split("\n"))


def _rewritten(line: str) -> str:
    match = _IMPORT.match(line)
    if match is None:
        return line
    indent, word, module, rest = match.groups()
    first = module.split(".")[0]
    if first in ("keras", "conftest"):
        inner = module.removeprefix("keras").removeprefix(".src").lstrip(".")
        target = ".".join(part for part in (ROOT, inner) if part)
        if word == "import" and " as " not in rest:
            return f"{indent}import {ROOT} as keras{rest}"
        return f"{indent}{word} {target}{rest}"
    if first in OUTSIDE:
        target = f"{ROOT}.outside"
        if word == "from":
            return f"{indent}from {target}.{module}{rest}"
        alias = rest if " as " in rest else f" as {first}"
        return f"{indent}from {target} import {module if ' as ' not in rest else first}{alias}"
    return line


def install(tests: Path, source: Path) -> None:
    """Let `keras_names` be imported."""
    sys.meta_path.insert(0, Finder(tests, source))


def end_collection() -> None:
    """From now on a call of an absent name is an error."""
    _State.collecting = False
