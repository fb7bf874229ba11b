"""Names the values of a model's nested inputs or outputs, and brings values into their order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from longspan import errors
from longspan.layers.structure import map_structure

Path = tuple[Any, ...]  # keys of dicts and numbers in lists, from the outside to a value


def is_nested(structure: Any) -> bool:
    """Whether a structure has lists, tuples or dicts inside a list, tuple or dict."""
    return any(isinstance(part, (list, tuple, Mapping)) for _, part in children(structure))


def children(structure: Any) -> list[tuple[Any, Any]]:
    """Each part of a dict by its key, or of a list or tuple by its number; none of anything else."""
    if isinstance(structure, Mapping):
        return list(structure.items())
    return list(enumerate(structure)) if isinstance(structure, (list, tuple)) else []


def paths(structure: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The path of every value in nested lists, tuples and dicts, with the value."""
    if not isinstance(structure, (list, tuple, Mapping)):
        yield path, structure
    for key, part in children(structure):
        yield from paths(part, (*path, key))


def numbered(structure: Any) -> Any:
    """The structure with the numbers of its values, from 0, in their places."""
    numbers = iter(range(sum(1 for _ in paths(structure))))
    return map_structure(lambda _: next(numbers), structure)


def leaf_names(structure: Any) -> list[str]:
    """The names of symbolic tensors: the keys of a dict, in a list the layers' names, made different.

    Deeper ones have the keys before them, as in "scores/dense".
    """
    names: list[str] = []
    stems: list[str] = []
    for path, tensor in paths(structure):
        last = path[-1] if path and not isinstance(path[-1], int) else tensor.name
        stem = "/".join(str(key) for key in (*path[:-1], last))
        same = stems.count(stem)
        stems.append(stem)
        names.append(f"{stem}_{same}" if same else stem)
    return names


def arranged(argument: str, value: Any, names: Sequence[str], structure: Any = None) -> list[Any]:
    """The arrays of several inputs or outputs, in their order.

    Args:
        argument: what an error calls the value.
        value: a list, a tuple or a dict by name; or lists, tuples and dicts nested like the structure.
        names: of the inputs or outputs.
        structure: how a model of symbolic tensors nests them; None where it does not.

    Raises:
        ValueError, TypeError: there are more or fewer, or a name is unknown; the sentence lists the names.
    """
    if is_nested(structure) and _has_outline(value, structure):
        return _aligned(value, structure)
    if isinstance(structure, Mapping) and isinstance(value, (list, tuple)):
        _note_order(argument, value, names)
    expected = f"an array for each of {', '.join(names)}"
    if isinstance(value, Mapping):
        missing = [name for name in names if name not in value]
        unknown = [str(key) for key in value if key not in names]
        if missing or unknown:
            received = f"no {missing[0]}" if missing else repr(unknown[0])
            way_out = f"use the names {', '.join(names)}"
            raise errors.value_error(argument, expected, received, way_out)
        return [value[name] for name in names]
    if not isinstance(value, (list, tuple)):
        raise errors.type_error(argument, expected, value, "pass a list or a dict of arrays")
    if len(value) != len(names):
        raise errors.value_error(argument, expected, f"{len(value)} values", "pass a list as long, or a dict")
    return list(value)


def _note_order(argument: str, value: Sequence[Any], names: Sequence[str]) -> None:
    """Warn of a list in the place of a dict; refuse it where the keys' order is not that of the alphabet."""
    if list(names) != sorted(names):
        expected = f"a dict with the keys {', '.join(names)}"
        raise errors.value_error(argument, expected, f"a {type(value).__name__}", "give the arrays by name")
    errors.notice(
        "The structure of `inputs` doesn't match the expected structure: "
        f"{argument} is a {type(value).__name__} in the place of a dict with the keys {', '.join(names)}."
    )


def _has_outline(value: Any, structure: Any) -> bool:
    """Whether a value has lists and dicts where the structure has them."""
    if isinstance(structure, Mapping):
        same = isinstance(value, Mapping) and value.keys() == structure.keys()
    elif isinstance(structure, (list, tuple)):
        same = isinstance(value, (list, tuple)) and len(value) == len(structure)
    else:
        return not isinstance(value, Mapping)
    return same and all(_has_outline(value[key], part) for key, part in children(structure))


def _aligned(value: Any, structure: Any) -> list[Any]:
    """The values of an outline in the structure's order."""
    parts = children(structure)
    if not parts:
        return [value]
    return [leaf for key, part in parts for leaf in _aligned(value[key], part)]
