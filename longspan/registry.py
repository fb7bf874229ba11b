"""Makes objects of one kind from their names and saved configs, and describes objects for saving."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Generic, TypeVar

from typing_extensions import Self

from longspan import errors

T = TypeVar("T")
_CUSTOM: dict[str, Any] = {}  # name -> a class or function of a user, for `get` and for reading files
_REGISTERED: dict[Any, str] = {}  # a class or function of a user -> "package>name"


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


class Configured:
    """An object that its constructor's arguments describe, which are attributes of the same names."""

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return constructor_arguments(self)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """The object that `get_config` described."""
        return cls(**config)


def register_keras_serializable(package: str = "Custom", name: str | None = None) -> Callable[[T], T]:
    """Decorates a class or function so that configs and files that name it are read without custom_objects.

    Args:
        package: a name for what belongs together, written before the class's.
        name: None for the class's own name.

    Raises:
        ValueError: a class has no `get_config`.
    """

    def register(item: T) -> T:
        own: str = name or item.__name__  # pyright: ignore[reportAttributeAccessIssue]
        if inspect.isclass(item) and not callable(getattr(item, "get_config", None)):
            raise errors.value_error(own, "a class with get_config", "one without", "define get_config(self)")
        _CUSTOM[f"{package}>{own}"] = item
        _REGISTERED[item] = f"{package}>{own}"
        return item

    return register


def get_registered_name(item: Any) -> str:
    """The name, "package>name", of a registered class or function; of any other its own."""
    return _REGISTERED.get(item) or item.__name__


def get_registered_object(
    name: str,
    custom_objects: Mapping[str, Any] | None = None,
    module_objects: Mapping[str, Any] | None = None,
) -> Any:
    """The class or function of a name, from the registered ones or those passed; None without one."""
    for objects in (_CUSTOM, custom_objects or {}, module_objects or {}):
        if name in objects:
            return objects[name]
    return None


def get_custom_objects() -> dict[str, Any]:
    """The registered classes and functions by name; what is put into it is found by its name too."""
    return _CUSTOM


def custom_objects_with(custom_objects: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The objects passed and the registered ones, these also by their names without the package."""
    short = {name.rpartition(">")[2]: item for name, item in _CUSTOM.items()}
    return {**short, **_CUSTOM, **(custom_objects or {})}


class CustomObjectScope:
    """Names for classes and functions of a user while a `with` block runs.

    Args:
        custom_objects: name -> class or function.

    >>> with CustomObjectScope({"Mine": int}):
    ...     get_registered_object("Mine")
    <class 'int'>
    """

    def __init__(self, custom_objects: Mapping[str, Any] | None = None) -> None:
        self._objects = dict(custom_objects or {})
        self._before: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._before = dict(_CUSTOM)
        _CUSTOM.update(self._objects)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _CUSTOM.clear()
        _CUSTOM.update(self._before)


custom_object_scope = CustomObjectScope


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
            kind = self._class(identifier)
            is_made = inspect.isclass(kind) or kind in self.classes.values()
            return kind() if is_made else kind  # pyright: ignore[reportReturnType]
        kind, config = self._class(identifier.get("class_name")), identifier.get("config") or {}
        is_configured = inspect.isclass(kind) and issubclass(kind, Configured)
        return kind.from_config(config) if is_configured else kind(**config)  # pyright: ignore[reportReturnType, reportAttributeAccessIssue]

    def config(self, item: object, options: Mapping[str, Any]) -> dict[str, Any]:
        """What `get` makes an equal object from: the class's name and the constructor's arguments.

        Raises:
            ValueError: the object's class is not registered, so that it cannot be saved.
        """
        name = type(item).__name__
        if type(item) in _REGISTERED:
            return {"class_name": name, "config": dict(options), "registered_name": _REGISTERED[type(item)]}
        if name not in self.classes:
            expected = f"a {self.kind} of this library, since functions and classes of your own are not saved"
            received = getattr(item, "name", name)
            raise errors.value_error(self.kind, expected, received, "pass it again after loading")
        return {"class_name": name, "config": dict(options)}

    def _class(self, name: object) -> Any:
        custom = custom_objects_with() if name not in self.names else _CUSTOM
        return (
            custom[name] if isinstance(name, str) and name in custom else self.classes[self._class_name(name)]
        )

    def _class_name(self, name: object) -> str:
        if isinstance(name, str) and name in self.names:
            return self.names[name]
        nearest = get_close_matches(str(name), self.names, n=1)
        way_out = f"the nearest is {nearest[0]!r}" if nearest else f"{self.listing} has them all"
        article = "an" if self.kind[0] in "aeiou" else "a"
        expected = f"the name of {article} {self.kind}, such as {self.example!r}"
        raise errors.value_error(self.kind, expected, repr(name), way_out)
