"""Makes objects of one kind from their names and saved configs, and describes objects for saving."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, Generic, TypeVar

from longspan import errors

T = TypeVar("T")


def by_name(*classes: Callable[..., T]) -> dict[str, Callable[..., T]]:
    """Classes, or functions that make objects, by their own names."""
    return {kind.__name__: kind for kind in classes}


def snake_case(name: str) -> str:
    """A class's name in lower case with underscores.

    >>> snake_case("GlorotUniform")
    'glorot_uniform'
    """
    return "".join("_" + letter.lower() if letter.isupper() else letter for letter in name).lstrip("_")


def name_of(function: Any) -> str:
    """`module:name` of a function, or of the class of an object that is called.

    >>> name_of(snake_case)
    'longspan.registry:snake_case'
    """
    named = function if getattr(function, "__qualname__", None) else type(function)
    return f"{named.__module__}:{named.__qualname__}"


def constructor_arguments(item: object) -> dict[str, Any]:
    """The named arguments of an object's constructor, read from the attributes of the same names."""
    parameters = inspect.signature(type(item)).parameters
    return {name: getattr(item, name) for name, p in parameters.items() if p.kind is not p.VAR_KEYWORD}


class Registry(Generic[T]):
    """The classes of one kind by name, such as all losses.

    Args:
        kind: what errors call the objects, such as "loss".
        example: a name that errors show, such as "mse".
        listing: where users find all names, such as "longspan.losses.NAMES".
        classes: class name -> the class, or a function that makes an object.
        aliases: another name -> class name.

    >>> numbers = Registry("number", "int", "nowhere", {"int": int}, {"whole": "int"})
    >>> numbers.get("whole"), numbers.get({"class_name": "int", "config": {}})
    (0, 0)
    """

    def __init__(
        self,
        kind: str,
        example: str,
        listing: str,
        classes: Mapping[str, Callable[..., T]],
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        self.kind, self.example, self.listing = kind, example, listing
        self.classes = dict(classes)
        self.names: dict[str, str] = {**{name: name for name in classes}, **(aliases or {})}

    def get(self, identifier: str | Mapping[str, Any]) -> T:
        """The object of a name, with the default options, or of a saved {"class_name": …, "config": …}.

        Raises:
            ValueError: there is no such name; the sentence gives the nearest one.
        """
        if isinstance(identifier, str):
            return self.classes[self._class_name(identifier)]()
        return self.classes[self._class_name(identifier.get("class_name"))](**identifier.get("config", {}))

    def config(self, item: object, options: Mapping[str, Any]) -> dict[str, Any]:
        """What `get` makes an equal object from: the class's name and the constructor's arguments.

        Raises:
            ValueError: the object's class is not registered, so that it cannot be saved.
        """
        name = type(item).__name__
        if name not in self.classes:
            expected = f"a {self.kind} of this library, since functions and classes of your own are not saved"
            received = getattr(item, "name", name)
            raise errors.value_error(self.kind, expected, received, "pass it again after loading")
        return {"class_name": name, "config": dict(options)}

    def _class_name(self, name: object) -> str:
        if isinstance(name, str) and name in self.names:
            return self.names[name]
        nearest = get_close_matches(str(name), self.names, n=1)
        way_out = f"the nearest is {nearest[0]!r}" if nearest else f"{self.listing} has them all"
        article = "an" if self.kind[0] in "aeiou" else "a"
        expected = f"the name of {article} {self.kind}, such as {self.example!r}"
        raise errors.value_error(self.kind, expected, repr(name), way_out)
