"""The base of every layer: name, options, weights in Keras' order, made when the input's size is known."""

from __future__ import annotations

import inspect
import re
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, wraps
from typing import Any, TypedDict, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from typing_extensions import Unpack, get_type_hints

from longspan import errors, initializers, regularizers
from longspan.initializers import Initializer
from longspan.regularizers import Regularizer

# A shape with None where any size will do: (B, …).
Shape = tuple[int | None, ...]


class LayerOptions(TypedDict, total=False):
    """The options that every layer takes.

    name: None derives one from the class's name. trainable: whether fitting changes the weights. input_shape:
    the shape of one row; batch_input_shape and batch_shape: the same with the batch size before it. The first
    layer of a model takes one of the three, and the model then has its weights at once. dtype: "float32" or
    "float64"; layers compute in the dtype of their weights.
    """

    name: str | None
    trainable: bool
    input_shape: Sequence[int | None]
    batch_input_shape: Sequence[int | None]
    batch_shape: Sequence[int | None]
    dtype: str | None


def snake_case(name: str) -> str:
    """The class's name as Keras writes it into layers' names.

    >>> snake_case("SimpleRNN"), snake_case("Conv2D"), snake_case("LSTM")
    ('simple_rnn', 'conv2d', 'lstm')
    """
    words = re.sub(r"\W+", "", name)
    words = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", words)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


_COUNTS: Counter[str] = Counter()


def unique_name(stem: str) -> str:
    """`stem`, then `stem_1`, `stem_2`, …; no name twice in one process."""
    _COUNTS[stem] += 1
    return stem if _COUNTS[stem] == 1 else f"{stem}_{_COUNTS[stem] - 1}"


def reset_names() -> None:
    """Start the counts of `unique_name` again."""
    _COUNTS.clear()


@dataclass(frozen=True)
class KerasLayout:
    """How a weight's tensor in PyTorch maps to Keras' array: the order of gates and of dimensions.

    Args:
        gates: for each gate in Keras' order, the index of its block of rows in PyTorch's tensor; empty
            without gates.
        dims: the dimensions of PyTorch's tensor in Keras' order; empty where the order is the same.
    """

    gates: tuple[int, ...] = ()
    dims: tuple[int, ...] = ()

    def keras(self, tensor: Tensor) -> Tensor:
        """PyTorch's tensor in Keras' layout."""
        ordered = _blocks(tensor, self.gates)
        return ordered.permute(self.dims) if self.dims else ordered

    def torch(self, value: Tensor) -> Tensor:
        """Keras' array in PyTorch's layout."""
        value = value.permute(_inverse(self.dims)) if self.dims else value
        return _blocks(value, _inverse(self.gates))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(order.index(i) for i in range(len(order)))


def _blocks(tensor: Tensor, order: Sequence[int]) -> Tensor:
    """The gates' blocks of rows in another order."""
    if list(order) == sorted(order):
        return tensor
    blocks = tensor.chunk(len(order))
    return torch.cat([blocks[i] for i in order])


SAME_LAYOUT = KerasLayout()


class Weight:
    """One weight with Keras' name, shape and layout, over the PyTorch tensors that hold its values.

    Attributes:
        name: Keras' name, such as "kernel".
        shape: Keras' shape.
        trainable: whether gradients reach it.
    """

    def __init__(
        self,
        name: str,
        shape: Sequence[int],
        initializer: Initializer,
        sources: Sequence[tuple[nn.Module, str]],
        layout: KerasLayout = SAME_LAYOUT,
        *,
        trainable: bool = True,
        regularizer: Regularizer = None,
    ) -> None:
        """`sources`: the tensors as (module, attribute); of several, each is one row of Keras' array."""
        self.name, self.shape, self.trainable = name, tuple(shape), trainable
        self._initializer, self._sources = initializers.get(initializer), sources
        self._layout = layout
        self._regularizer = regularizers.get(regularizer)

    def tensors(self) -> list[Tensor]:
        """The PyTorch tensors that hold the values."""
        return [getattr(module, name) for module, name in self._sources]

    def get(self) -> Tensor:
        """The values in Keras' layout; gradients flow through."""
        parts = [self._layout.keras(tensor) for tensor in self.tensors()]
        return parts[0] if len(parts) == 1 else torch.stack(parts)

    @torch.no_grad()
    def set(self, value: Tensor) -> None:
        """Copy values in Keras' layout into the tensors."""
        parts = [value] if len(self._sources) == 1 else value.unbind(0)
        for tensor, part in zip(self.tensors(), parts, strict=True):
            tensor.copy_(self._layout.torch(part))

    def draw(self) -> None:
        """Draw the values by the initializer."""
        self.set(self._initializer(self.shape))

    def regularization_loss(self) -> Tensor | None:
        """What the regularizer adds to the loss; None without a regularizer."""
        return None if self._regularizer is None else self._regularizer(self.get())

    def require_grad(self, wanted: bool) -> None:
        """Let fitting change the values or not; nothing for a weight that is never trainable."""
        if self.trainable:
            for tensor in self.tensors():
                tensor.requires_grad_(wanted)


class Layer(nn.Module):
    """A layer in Keras' shape over PyTorch. Abstract.

    Its weights are made at the first call, or by `build`, when the sizes of the input are known. A layer is
    called as `layer(x, mask)`: x (B, …), mask (B, T) bool or None, False where a step is to be skipped.
    """

    def __init_subclass__(cls) -> None:
        if "__init__" in cls.__dict__:
            cls.__init__ = _recording_options(cls.__init__)

    def __init__(self, **shared: Unpack[LayerOptions]) -> None:
        super().__init__()
        self.name = shared.get("name") or unique_name(snake_case(type(self).__name__))
        self.own_weights: list[Weight] = []
        self.built = False
        self.input_shape: Shape | None = None
        self.output_shape: Any = None
        self._trainable = shared.get("trainable", True)
        self.declared_shape = _declared_shape(shared)
        dtype = shared.get("dtype")
        if dtype not in (None, "float32", "float64"):
            way_out = "give precision to compile for half precision"
            raise errors.value_error("dtype", "'float32' or 'float64'", repr(dtype), way_out)

    # Methods that a final class overrides.

    @abstractmethod
    def call(self, x: Tensor, mask: Tensor | None) -> Any:
        """The layer's output, once its weights exist."""
        raise NotImplementedError

    def create_weights(self, shape: Shape) -> None:
        """Create the weights for inputs of this shape; nothing for a layer without weights."""

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        """The shape of the output for an input of this shape, None for a size that is not known."""
        return tuple(input_shape)

    def compute_mask(self, x: Tensor, mask: Tensor | None) -> Tensor | None:
        """The mask of the output, (B, T) bool or None: by default the mask of the input."""
        return mask

    # Methods of every layer.

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create and draw the weights for inputs of this shape, (B, …) with None for B.

        Raises:
            ValueError: the shape does not suit the layer.
        """
        if self.built:
            return
        shape = (None, *input_shape[1:])
        self.output_shape = self.compute_output_shape(shape)
        self.create_weights(shape)
        for weight in self.own_weights:
            weight.draw()
        self.input_shape, self.built = shape, True
        self.trainable = self._trainable
        self.train(self.training)  # modules that `create_weights` added take the layer's mode

    def forward(self, x: Any, mask: Tensor | None = None) -> Any:
        """The layer's output; see the class for shapes."""
        x = to_tensor(x)
        if not self.built:
            self.build(tuple(x.shape))
        return self.call(x, mask)

    @property
    def trainable(self) -> bool:
        """Whether fitting changes the weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        self._trainable = errors.check_bool("trainable", wanted)
        for weight in self.keras_weights():
            weight.require_grad(wanted)

    def keras_weights(self) -> list[Weight]:
        """The weights, those of wrapped layers included, in Keras' order: trainable ones first."""
        return sorted(self.own_weights, key=lambda weight: not weight.trainable)

    @property
    def weights(self) -> list[Tensor]:
        """The weights in Keras' order and layout."""
        return [weight.get() for weight in self.keras_weights()]

    def get_weights(self) -> list[np.ndarray]:
        """Copies of the weights in Keras' order, layout and gate order."""
        return [weight.get().detach().cpu().numpy().copy() for weight in self.keras_weights()]

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Take weights as `get_weights`, here or in Keras, gives them.

        Raises:
            ValueError: their number or a shape is another; nothing is changed then.
        """
        assign(self.name, self.keras_weights(), weights)

    def count_params(self) -> int:
        """The number of values in all weights."""
        return sum(int(np.prod(weight.shape)) for weight in self.keras_weights())

    def regularization_loss(self) -> Tensor | None:
        """The sum of the weights' regularization losses; None without regularizers."""
        terms = [
            term for weight in self.keras_weights() if (term := weight.regularization_loss()) is not None
        ]
        return torch.stack(terms).sum() if terms else None

    def get_config(self) -> dict[str, Any]:
        """The constructor's options, defaults included: `type(layer)(**config)` makes an equal layer."""
        return {"name": self.name, "trainable": self._trainable, **self._options}

    def reset_states(self) -> None:
        """Reset carried states; nothing in a layer without."""

    def reset_state(self) -> None:
        """The same by Keras' other name."""
        self.reset_states()

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._options.items() if key != "layer")

    _options: dict[str, Any]

    def parameter(self, name: str, shape: Sequence[int]) -> tuple[nn.Module, str]:
        """Register a parameter, not yet drawn, and return it as Weight takes it."""
        self.register_parameter(name, Parameter(torch.empty(tuple(shape))))
        return self, name


def assign(name: str, targets: Sequence[Weight], weights: Sequence[Any]) -> None:
    """Set every weight of the layer or model `name`, or none where a shape is wrong."""
    if len(weights) != len(targets):
        expected = f"{len(targets)} arrays ({', '.join(weight.name for weight in targets)})"
        way_out = "build the layer first" if not targets else "pass what get_weights() gives"
        raise errors.value_error(f"weights of {name}", expected, len(weights), way_out)
    values = [torch.as_tensor(np.asarray(value)) for value in weights]
    for weight, value in zip(targets, values, strict=True):
        if tuple(value.shape) != weight.shape:
            argument, way_out = f"weight {weight.name} of {name}", "pass weights of a layer of these sizes"
            raise errors.value_error(argument, f"shape {weight.shape}", tuple(value.shape), way_out)
    for weight, value in zip(targets, values, strict=True):
        weight.set(value)


def to_tensor(x: Any) -> Any:
    """A NumPy array as a float32 or int64 tensor; any other value unchanged."""
    if not isinstance(x, np.ndarray):
        return x
    whole = np.issubdtype(x.dtype, np.integer)
    return torch.as_tensor(x.astype(np.int64 if whole else np.float32))


def check_rank(layer: Layer, shape: Sequence[int | None], letters: str, way_out: str) -> None:
    """An error unless `shape` has as many dimensions as `letters`, such as "(B, T, I)"."""
    if len(shape) != letters.count(",") + 1:
        received = "(" + ", ".join("B" if size is None else str(size) for size in shape) + ")"
        raise errors.value_error(f"input of {layer.name}", f"shape {letters}", received, way_out)


def check_format(data_format: str | None) -> None:
    """An error unless features are in the last dimension, Keras' default."""
    if data_format not in (None, "channels_last"):
        way_out = "move the channels to the last dimension"
        raise errors.value_error("data_format", "'channels_last'", repr(data_format), way_out)


def required_size(layer: Layer, size: int | None, what: str) -> int:
    """`size` itself, or an error where it is None and the weights' shapes depend on it."""
    if size is None:
        way_out = "give it in input_shape or call the layer on data"
        raise errors.value_error(f"input_shape of {layer.name}", f"a number for {what}", None, way_out)
    return size


def _declared_shape(shared: LayerOptions) -> Shape | None:
    """The (B, …) input shape among a layer's options, or None."""
    batch_shape = shared.get("batch_input_shape") or shared.get("batch_shape")
    if batch_shape is not None:
        return tuple(batch_shape)
    row = shared.get("input_shape")
    if row is None:
        return None
    return (None, row) if isinstance(row, int) else (None, *row)


def _recording_options(init: Callable[..., None]) -> Callable[..., None]:
    """`init`, which also records its options for `get_config`, so that no layer lists them a second time."""
    signature = inspect.signature(init)

    @wraps(init)
    def init_and_record(self: Layer, *args: Any, **kwargs: Any) -> None:
        if "_options" not in self.__dict__:
            name = type(self).__name__
            self.__dict__["_options"] = _bound_options(name, init, signature, args, kwargs)
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
    own = {key for key, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD} - {"self"}
    shared = keywords(init)
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


@cache
def keywords(init: Callable[..., None]) -> set[str]:
    """The keywords of `**options: Unpack[Some]`."""
    hints = get_type_hints(init)
    last = list(inspect.signature(init).parameters.values())[-1]
    return set(get_args(hints[last.name])[0].__annotations__) if last.kind is last.VAR_KEYWORD else set()


def warn_mask_ends(layer: Layer, mask: Tensor | None) -> None:
    """Warn that a mask ends at this layer, as Keras does."""
    if mask is not None:
        message = f"{layer.name}: it does not pass masks on, so the layers after it see every step."
        warnings.warn(message, stacklevel=2)
