"""The options that every layer takes, and the record of a layer's options that `get_config` returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cache, wraps
from typing import Any, TypedDict, get_args

from typing_extensions import get_type_hints

from longspan import errors
from longspan.constraints import ConstraintLike

from .structure import Shape, shapes_of


class LayerOptions(TypedDict, total=False):
    """The options that every layer takes.

    name: None derives one from the class's name. trainable: whether fitting changes the weights. input_shape:
    the shape of one row; batch_input_shape and batch_shape: the same with the batch size before it. The first
    layer of a model takes one of the three, and the model then has its weights at once. dtype: "float32" or
    "float64"; layers compute in the dtype of their weights.

    activity_regularizer: of the output, divided by B and added to the loss (see `longspan.regularizers`).
    kernel_constraint and the others: what projects a weight after every step of the optimizer (see
    `longspan.constraints`), for layers that have a regularizer of such a name.
    """

    name: str | None
    trainable: bool
    input_shape: Sequence[int | None]
    batch_input_shape: Sequence[int | None]
    batch_shape: Sequence[int | None]
    dtype: str | None
    activity_regularizer: Any
    kernel_constraint: ConstraintLike
    recurrent_constraint: ConstraintLike
    bias_constraint: ConstraintLike
    embeddings_constraint: ConstraintLike
    alpha_constraint: ConstraintLike
    beta_constraint: ConstraintLike
    gamma_constraint: ConstraintLike
    depthwise_constraint: ConstraintLike
    pointwise_constraint: ConstraintLike


CONSTRAINT = "_constraint"  # the end of the options' names


def shape_arguments(
    build: Callable[..., None], call: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, Any]:
    """The arguments of `build` for those of a call: the shape of the inputs.

    A user's `build(self, query_shape, value_shape)` gets the shapes of the arguments query and value.
    """
    names = list(inspect.signature(build).parameters)
    if len(names) == 1:
        return {names[0]: shapes_of(args[0] if args else next(iter(kwargs.values())))}
    call_names = list(inspect.signature(call).parameters)
    for name in names:
        if not name.endswith("_shape") or name.removesuffix("_shape") not in call_names:
            expected = f"arguments of call with _shape after them ({', '.join(call_names)})"
            raise errors.value_error("arguments of build", expected, name, "rename it, or leave it out")
    inputs = {**dict(zip(call_names, args, strict=False)), **kwargs}
    return {name: shapes_of(inputs.get(name.removesuffix("_shape"))) for name in names}


def check_shared(kind: str, options: Mapping[str, Any]) -> None:
    """An error for an option that no layer takes, or a dtype that layers do not compute in."""
    for key in options:
        if key not in LayerOptions.__annotations__:
            way_out = errors.did_you_mean(key, LayerOptions.__annotations__)
            raise TypeError(errors.message(kind, "one of its options", repr(key), way_out))
    dtype = options.get("dtype")
    if dtype not in (None, "float32", "float64"):
        way_out = "give precision to compile for half precision"
        raise errors.value_error("dtype", "'float32' or 'float64'", repr(dtype), way_out)


def declared_shape(shared: LayerOptions) -> Shape | None:
    """The (B, …) input shape among a layer's options, or None."""
    batch_shape = shared.get("batch_input_shape") or shared.get("batch_shape")
    if batch_shape is not None:
        return tuple(batch_shape)
    row = shared.get("input_shape")
    if row is None:
        return None
    return (None, row) if isinstance(row, int) else (None, *row)


def recording_options(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, which also records its options for `get_config`, so that no layer lists them a second time."""
    signature = inspect.signature(init)

    @wraps(init)
    def init_and_record(self: Any, *args: Any, **kwargs: Any) -> None:
        options = _bound_options(type(self).__name__, init, signature, args, kwargs)
        if "_options" not in self.__dict__ and not takes_any(init):  # the constructor that was called
            _check_constraints(type(self).__name__, set(options), kwargs)
        self.__dict__.setdefault("_options", options)
        init(self, *args, **kwargs)

    return init_and_record


def _bound_options(
    name: str,
    init: Callable[..., None],
    signature: inspect.Signature,
    args: Sequence[Any],
    kwargs: dict[str, Any],
) -> dict[str, Any]:
    """Every option of the constructor by name, with defaults; of `LayerOptions` only those passed."""
    plain = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    own = {key for key, p in signature.parameters.items() if p.kind not in plain} - {"self"}
    shared = keywords(init)
    if takes_any(init):
        shared = set(kwargs)
    for key in kwargs:
        if key not in own | shared:
            raise TypeError(
                errors.message(name, "one of its options", repr(key), errors.did_you_mean(key, own | shared))
            )
    try:
        bound = signature.bind(None, *args, **{key: value for key, value in kwargs.items() if key in own})
    except TypeError as error:
        raise TypeError(errors.message(name, "its arguments", error, f"help({name}) names them")) from None
    bound.apply_defaults()
    options = {key: value for key, value in bound.arguments.items() if key in own}
    return options | {key: value for key, value in kwargs.items() if key in shared - {"name", "trainable"}}


def _check_constraints(name: str, options: set[str], kwargs: Mapping[str, Any]) -> None:
    """An error for a constraint of a weight that a layer does not have, as the regularizers' names tell."""
    stems = {option.removesuffix("_regularizer") for option in options if option.endswith("_regularizer")}
    names = sorted(stem + CONSTRAINT for stem in stems - {"activity"})
    for key, value in kwargs.items():
        if key.endswith(CONSTRAINT) and value is not None and key not in names:
            expected = f"constraints of its weights ({', '.join(names) or 'it has none'})"
            way_out = errors.did_you_mean(key, names) if names else "leave it out"
            raise TypeError(errors.message(name, expected, repr(key), way_out))


@cache
def keywords(init: Callable[..., None]) -> set[str]:
    """The keywords of `**options: Unpack[Some]`; those that every layer takes for a plain `**options`."""
    if takes_any(init):
        return set(LayerOptions.__annotations__)
    last = list(inspect.signature(init).parameters.values())[-1]
    hints = get_type_hints(init)
    return set(get_args(hints[last.name])[0].__annotations__) if last.kind is last.VAR_KEYWORD else set()


def takes_any(init: Callable[..., None]) -> bool:
    """Whether a constructor hands any keyword on, as a user's with `**kwargs` does."""
    last = list(inspect.signature(init).parameters.values())[-1]
    return last.kind is last.VAR_KEYWORD and not str(last.annotation).startswith("Unpack[")
