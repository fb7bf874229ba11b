"""The base of every layer: name, options, weights in Keras' order, made when the input's size is known."""

from __future__ import annotations

import re
import warnings
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from typing_extensions import Unpack

from longspan import constraints, errors, regularizers
from longspan.constraints import ConstraintLike
from longspan.initializers import InitializerLike
from longspan.regularizers import RegularizerLike

from .calling import CallArguments, run_layer
from .options import (
    CONSTRAINT,
    LayerOptions,
    check_shared,
    declared_shape,
    recording_options,
    shape_arguments,
)
from .structure import (
    map_shapes,
    map_structure,
    open_batch,
    shapes_of,
)
from .symbolic import KerasTensor, Node, any_symbolic, record, specs, trial_call
from .tracking import modules_inside, reserve_list, track_lists
from .weights import Weight, assign, register_weight, sum_of


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


class Layer(nn.Module):
    """A layer in Keras' shape over PyTorch. Abstract.

    Its weights are made at the first call, or by `build`, when the sizes of the input are known. A layer is
    called on tensors, as `layer(x, mask)`: x (B, …), mask (B, T) bool or None, False where a step is skipped.
    Without a mask it takes the one that the layer before attached to x; where the call has further tensors,
    such as initial_state, the attached mask goes to the output alone, as in Keras.

    On symbolic tensors (see `Input`) a layer returns symbolic tensors, out of which `longspan.models.Model`
    makes a model.

    A layer of your own defines `call(self, inputs)`, with mask and training among its arguments if it uses
    them, and makes its weights with `add_weight` in `__init__` or in `build(self, input_shape)`:

        class Scale(Layer):
            def build(self, input_shape):
                self.factor = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="factor")

            def call(self, inputs):
                return inputs * self.factor

    Attributes:
        inbound_nodes: the calls of the layer on symbolic tensors.
        supports_masking: whether the mask of the input is the mask of the output.

    >>> from longspan.layers import Dense
    >>> layer = Dense(4)
    >>> layer(torch.zeros(2, 3)).shape, layer.count_params()
    (torch.Size([2, 4]), 16)
    """

    classes: ClassVar[dict[str, Any]] = {}  # the layers of this library by name
    call_arguments: ClassVar[CallArguments]
    is_own: ClassVar[bool] = False  # whether the class is a user's
    ends_mask: ClassVar[bool] = False  # whether a mask ends at a layer of this library
    _masks: ClassVar[bool] = True  # whether the class, or one of this library above it, decides on masks

    def __init_subclass__(cls) -> None:
        cls.is_own = not cls.__module__.startswith("longspan.")
        bases = [base for base in cls.__mro__[1:] if issubclass(base, Layer) and base is not Layer]
        cls._masks = not cls.is_own or not all(base.is_own or base.__name__ == "Model" for base in bases)
        cls.call_arguments = CallArguments.of(cls.call)
        if not cls.is_own:
            Layer.classes[cls.__name__] = cls
        if "__init__" in cls.__dict__:
            cls.__init__ = recording_options(cls.__init__)
        if "build" in cls.__dict__ and cls.is_own:
            cls.build = _finishing_build(cls.build)

    def __init__(self, **shared: Unpack[LayerOptions]) -> None:
        super().__init__()
        check_shared(type(self).__name__, shared)
        self.name = shared.get("name") or unique_name(snake_case(type(self).__name__))
        self.own_weights: list[Weight] = []
        self.inbound_nodes: list[Node] = []
        self.built = False
        self._built_shape: Any = None
        self._trainable = shared.get("trainable", True)
        self.declared_shape = declared_shape(shared)
        self.activity_regularizer = regularizers.get(shared.get("activity_regularizer"))
        self._constraints = {
            key.removesuffix(CONSTRAINT): constraints.get(value)  # pyright: ignore[reportArgumentType]
            for key, value in shared.items()
            if key.endswith(CONSTRAINT)
        }
        self.__dict__["added_losses"] = []  # not as an attribute of a user's layer, whose lists are tracked
        decides = self._masks or type(self).compute_mask is not Layer.compute_mask
        self.supports_masking = decides and not self.ends_mask
        self.__dict__.setdefault("_options", {})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if self.is_own and isinstance(value, (list, tuple, dict)):
            reserve_list(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args and "inputs" in kwargs and not self.is_own:
            args = (kwargs.pop("inputs"),)
        if any_symbolic(args, kwargs):
            return record(self, args, kwargs)
        return super().__call__(*args, **kwargs)

    # Methods that a final class overrides.

    @abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for its inputs, once its weights exist.

        The layers of this library take (x, mask); for a layer of your own see the class.
        """
        raise NotImplementedError

    def create_weights(self, shape: Any) -> None:
        """Create the weights for inputs of this shape; nothing for a layer without weights."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for an input of this shape, None for a size that is not known.

        For a layer of your own that does not say otherwise, the shape is found by a call on zeros.
        """
        return self.trial_shape(input_shape) if self.is_own else tuple(input_shape)

    def compute_mask(self, x: Any, mask: Any = None) -> Any:
        """The mask of the output, (B, T) bool or None: by default the mask of the input."""
        return mask if self.supports_masking or not self.is_own else None

    # Building.

    def build(self, input_shape: Any) -> None:
        """Create and draw the weights for inputs of this shape, (B, …) with None for B.

        Raises:
            ValueError: the shape does not suit the layer.
        """
        if self.built:
            return
        shape = open_batch(input_shape)
        if not self.is_own:
            self.compute_output_shape(shape)  # an error for a shape that does not suit
        drawn = len(self.own_weights)
        self.create_weights(shape)
        for weight in self.own_weights[drawn:]:
            weight.constraint = weight.constraint or self._constraints.get(_constrained(weight.name))
            weight.draw()
        self._finish_build(shape)

    def _finish_build(self, input_shape: Any) -> None:
        self._built_shape, self.built = None if input_shape is None else open_batch(input_shape), True
        if self.is_own:
            track_lists(self)
        if not self._trainable:
            self.trainable = False
        self.train(self.training)  # modules that `create_weights` added take the layer's mode

    def build_from(self, *args: Any, **kwargs: Any) -> None:
        """`build` for the arguments of a call, tensors or symbolic tensors."""
        self.build(**shape_arguments(self.build, self.call, args, kwargs))

    def compute_output_spec(self, *args: Any, **kwargs: Any) -> Any:
        """Symbolic tensors for the outputs of a call on symbolic tensors."""
        finds_shape = type(self).compute_output_shape is not Layer.compute_output_shape
        if self.is_own and (len(args) != 1 or not finds_shape):
            return trial_call(self, args, kwargs)
        shape = self.compute_output_shape(shapes_of(args[0]))
        return specs(shape, "float32")

    def trial_shape(self, input_shape: Any) -> Any:
        """The output's shape, found by a call on zeros."""
        outputs = trial_call(self, (map_shapes(KerasTensor, input_shape),), {})
        return map_structure(lambda output: output.shape, outputs)

    def add_weight(
        self,
        shape: Sequence[int] | int | None = None,
        initializer: InitializerLike | None = None,
        dtype: str | None = None,
        trainable: bool = True,
        regularizer: RegularizerLike = None,
        constraint: ConstraintLike = None,
        name: str | None = None,
    ) -> Tensor:
        """A weight of the layer: a parameter, or a buffer for one that fitting does not change.

        Args:
            shape: its shape, () where None.
            initializer: None: "glorot_uniform" for more than one dimension, else "zeros".
            dtype: accepted for "float32".
            trainable: whether fitting changes it.
            regularizer: added to the loss.
            constraint: what projects it after every step of the optimizer, see `longspan.constraints`.
            name: None makes one.
        """
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        source = register_weight(self, name or "weight", sizes, trainable)
        start = initializer or ("glorot_uniform" if len(sizes) > 1 else "zeros")
        weight = Weight(
            name or "weight", sizes, start, [source], trainable=trainable, regularizer=regularizer,
            constraint=constraint,
        )  # fmt: skip
        weight.draw()
        self.own_weights.append(weight)
        return getattr(*source)

    # Running.

    def forward(self, x: Any, *args: Any, **kwargs: Any) -> Any:
        """The layer's output, with its mask attached; see the class, and `call` for further arguments."""
        return run_layer(self, x, args, kwargs)

    # Weights.

    @property
    def input_shape(self) -> Any:
        """(None, …) once built, None before; a list for a layer of several inputs."""
        return self._built_shape

    @property
    def output_shape(self) -> Any:
        """(None, …) once built, None before; a tuple or list of shapes for several outputs."""
        if self._built_shape is None:
            return None
        return self.compute_output_shape(self._built_shape)

    @property
    def input(self) -> Any:
        """What the layer was called on first: a symbolic tensor or several."""
        node = _first_node(self)
        return node.args[0] if node.args else node.structure

    @property
    def output(self) -> Any:
        """What the layer's first call on symbolic tensors returned."""
        return _first_node(self).structure

    @property
    def trainable(self) -> bool:
        """Whether fitting changes the weights."""
        return self._trainable

    @trainable.setter
    def trainable(self, wanted: bool) -> None:
        self._trainable = errors.check_bool("trainable", wanted)
        for weight in self.keras_weights():
            weight.require_grad(wanted)
        if self.is_own:
            for layer in self.inner_layers():
                layer.trainable = wanted

    def inner_layers(self) -> list[Layer]:
        """The layers that are attributes of this one, also in lists."""
        if self.is_own:
            track_lists(self)
        return [part for part in modules_inside(self) if isinstance(part, Layer)]

    def keras_weights(self) -> list[Weight]:
        """The weights, those of inner layers included, in Keras' order: trainable ones of a layer first."""
        weights = sorted(self.own_weights, key=lambda weight: not weight.trainable)
        if self.is_own:
            weights += [weight for layer in self.inner_layers() for weight in layer.keras_weights()]
        return weights

    @property
    def weights(self) -> list[Any]:
        """The weights in Keras' order and layout, tensors with `assign`."""
        return [weight.variable(self.name) for weight in self.keras_weights()]

    @property
    def trainable_weights(self) -> list[Any]:
        """The weights that fitting changes, in Keras' order and layout."""
        return [weight.variable(self.name) for weight in self.keras_weights() if weight.is_fitted()]

    @property
    def non_trainable_weights(self) -> list[Any]:
        """The weights that fitting does not change, in Keras' order and layout."""
        return [weight.variable(self.name) for weight in self.keras_weights() if not weight.is_fitted()]

    @property
    def variables(self) -> list[Any]:
        """The weights by Keras' other name."""
        return self.weights

    @property
    def trainable_variables(self) -> list[Any]:
        """The trainable weights by Keras' other name."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Any]:
        """The non-trainable weights by Keras' other name."""
        return self.non_trainable_weights

    def __getattr__(self, name: str) -> Any:
        """A weight by Keras' name, in Keras' layout, beside the attributes: layer.kernel, layer.bias."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            for weight in self.__dict__.get("own_weights", ()):
                if weight.name == name and (self, name) not in weight.sources:
                    return weight.variable(self.name)
            own = getattr(type(self), name, None)
            if isinstance(own, property) and own.fget is not None:
                return own.fget(self)  # whose own error says more
            raise

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
        return sum_of([weight.regularization_loss() for weight in self.keras_weights()])

    def add_loss(self, loss: Any) -> None:
        """Add a number to the loss of fitting, in `call`: one tensor, or a list of them."""
        self.added_losses.extend(loss if isinstance(loss, (list, tuple)) else [loss])

    def clear_losses(self) -> None:
        """Forget what calls before this one added to the loss, here and in inner layers."""
        for part in self.modules():
            if isinstance(part, Layer):
                part.added_losses.clear()

    @property
    def losses(self) -> list[Tensor]:
        """What is added to the loss: by `add_loss` and activity regularizers in the last call, by weights."""
        added = [loss for part in self.modules() if isinstance(part, Layer) for loss in part.added_losses]
        of_weights = [weight.regularization_loss() for weight in self.keras_weights()]
        return added + [loss for loss in of_weights if loss is not None]

    def get_config(self) -> dict[str, Any]:
        """The constructor's options, defaults included: `type(layer)(**config)` makes an equal layer."""
        return {"name": self.name, "trainable": self._trainable, **self._options}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Layer:
        """The layer that `get_config` described."""
        return cls(**config)

    def class_name(self) -> str:
        """The name of the class in files."""
        return type(self).__name__

    def reset_states(self) -> None:
        """Reset carried states; nothing in a layer without."""
        if self.is_own:
            for layer in self.inner_layers():
                layer.reset_states()

    def reset_state(self) -> None:
        """The same by Keras' other name."""
        self.reset_states()

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self._options.items() if key != "layer")

    _options: dict[str, Any]
    added_losses: list[Tensor]

    def __getstate__(self) -> dict[str, Any]:
        """Copies and pickles leave out what the last call added to the loss: it belongs to a graph."""
        return {**self.__dict__, "added_losses": []}

    def parameter(self, name: str, shape: Sequence[int]) -> tuple[nn.Module, str]:
        """Register a parameter, not yet drawn, and return it as Weight takes it."""
        self.register_parameter(name, Parameter(torch.empty(tuple(shape))))  # a subclass would slow each call
        return self, name


def _constrained(weight: str) -> str:
    """What a weight is called in the options of its constraint: query_kernel is a kernel."""
    return "recurrent" if weight == "recurrent_kernel" else weight.rpartition("_")[2]


def _first_node(layer: Layer) -> Node:
    if not layer.inbound_nodes:
        expected, way_out = "a layer of a model that is built", "give the model's first layer an Input"
        raise errors.unset_error(f"output of {layer.name}", expected, "one without symbolic tensors", way_out)
    return layer.inbound_nodes[0]


def _finishing_build(build: Callable[..., None]) -> Callable[..., None]:
    """A user's `build`, after which the layer is built whether or not it calls the base's."""

    @wraps(build)
    def build_and_finish(self: Layer, *args: Any, **kwargs: Any) -> None:
        if not self.built:
            build(self, *args, **kwargs)
            self._finish_build(args[0] if args else next(iter(kwargs.values()), None))

    return build_and_finish


def check_rank(layer: Layer, shape: Sequence[int | None], letters: str, way_out: str) -> None:
    """An error unless `shape` has as many dimensions as `letters`, such as "(B, T, I)"."""
    if len(shape) != letters.count(",") + 1:
        received = "(" + ", ".join("B" if size is None else str(size) for size in shape) + ")"
        raise errors.value_error(f"input of {layer.name}", f"shape {letters}", received, way_out)


def required_size(layer: Layer, size: int | None, what: str) -> int:
    """`size` itself, or an error where it is None and the weights' shapes depend on it."""
    if size is None:
        way_out = "give it in input_shape or call the layer on data"
        raise errors.value_error(f"input_shape of {layer.name}", f"a number for {what}", None, way_out)
    return size


def warn_mask_ends(layer: Layer, mask: Tensor | None) -> None:
    """Warn that a mask ends at this layer, as Keras does."""
    if mask is not None:
        message = f"{layer.name}: it does not pass masks on, so the layers after it see every step."
        warnings.warn(message, stacklevel=2)
