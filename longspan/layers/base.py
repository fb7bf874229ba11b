"""The base of every layer: name, options, weights in Keras' order, made when the input's size is known."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any, ClassVar
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from typing_extensions import Unpack

from longspan import activations, constraints, errors, regularizers
from longspan.constraints import ConstraintLike
from longspan.initializers import InitializerLike
from longspan.metrics.base import Metric
from longspan.regularizers import RegularizerLike
from longspan.variables import Variable

from .calling import CallArguments, run_layer, running
from .naming import snake_case, unique_name
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
from .weights import (
    Weight,
    assign,
    register_weight,
    rename_parameter,
    sum_of,
    variable_weight,
    weight_dtype,
)

_ADDING: WeakSet[Layer] = WeakSet()  # the layers that have added to the loss since they were cleared


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
        self._trainable = errors.check_bool("trainable", shared.get("trainable", True))
        self.declared_shape = declared_shape(shared)
        self.activity_regularizer = regularizers.get(shared.get("activity_regularizer"))
        self._constraints = {
            key.removesuffix(CONSTRAINT): constraints.get(value)  # pyright: ignore[reportArgumentType]
            for key, value in shared.items()
            if key.endswith(CONSTRAINT)
        }
        for name, value in list(self.__dict__.items()):
            if isinstance(value, Variable):  # which was set before
                del self.__dict__[name]
                setattr(self, name, value)
        self.__dict__["added_losses"] = []  # not as an attribute of a user's layer, whose lists are tracked
        decides = self._masks or type(self).compute_mask is not Layer.compute_mask
        self.supports_masking = decides and not self.ends_mask
        self.__dict__.setdefault("_options", {})

    def __setattr__(self, name: str, value: Any) -> None:
        if self.is_own and "_modules" in self.__dict__:
            self._set_own(name, value)
        else:
            super().__setattr__(name, value)

    def _set_own(self, name: str, value: Any) -> None:
        """Set an attribute of a user's layer: a variable is a weight, a list has a place for its layers."""
        if isinstance(value, Variable) and "own_weights" in self.__dict__:
            self.own_weights.append(variable_weight(self, name, value))
            return
        if isinstance(value, nn.Module) and name in self._parameters:
            rename_parameter(self, name, self.own_weights)
        super().__setattr__(name, value)
        if isinstance(value, (list, tuple, dict)):
            reserve_list(self, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not args:
            args, kwargs = self._first_by_position(kwargs)
        if any_symbolic(args, kwargs):
            return record(self, args, kwargs)
        if not (self._modules or self.is_own or self.activity_regularizer is not None):
            return super().__call__(*args, **kwargs)
        running.depth += 1
        try:
            if _ADDING and running.depth == 1:  # the outermost call
                self.clear_losses()
            return super().__call__(*args, **kwargs)
        finally:
            running.depth -= 1

    def _first_by_position(self, kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a call with its inputs, which were passed by name, before the others."""
        name = self.call_arguments.names[0] if self.is_own else "inputs"
        if name not in kwargs:
            return (), kwargs
        return (kwargs[name],), {key: value for key, value in kwargs.items() if key != name}

    # Methods that a final class overrides.

    @abstractmethod
    def call(self, *args: Any, **kwargs: Any) -> Any:
        """The layer's output for its inputs, once its weights exist.

        The layers of this library take (x, mask); for a layer of your own see the class.
        """
        expected, way_out = "a layer that defines call", "define call(self, inputs)"
        raise NotImplementedError(errors.message(type(self).__name__, expected, "one without", way_out))

    def create_weights(self, shape: Any) -> None:
        """Create the weights for inputs of this shape; nothing for a layer without weights."""

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the output for an input of this shape, None for a size that is not known.

        For a layer of your own that does not say otherwise, the shape is found by a call on zeros.
        """
        if type(self) is Layer:
            expected, way_out = (
                "a layer that defines compute_output_shape",
                "define it in a class of your own",
            )
            raise NotImplementedError(errors.message("Layer", expected, "one without", way_out))
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
            weight.name_parameter(self, self.name)
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
            dtype: None, or a dtype of floats: torch's default. A weight that is not trainable may have
                another, such as "int32".
            trainable: whether fitting changes it.
            regularizer: added to the loss.
            constraint: what projects it after every step of the optimizer, see `longspan.constraints`.
            name: None makes one.
        """
        if isinstance(shape, str):
            way_out = f"call add_weight(name={shape!r}, shape=...)"
            raise errors.value_error("shape", "the weight's sizes", repr(shape), way_out)
        sizes = (shape,) if isinstance(shape, int) else tuple(shape or ())
        number = weight_dtype(dtype, trainable)
        source = register_weight(self, name or "weight", sizes, trainable, number)
        is_matrix = len(sizes) > 1 and number.is_floating_point
        start = initializer or ("glorot_uniform" if is_matrix else "zeros")
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
    def variable_dtype(self) -> str:
        """The dtype of the weights, such as "float32"; before these exist that of new ones."""
        dtypes = (weight.tensors()[0].dtype for weight in self.keras_weights())
        return str(next(dtypes, torch.get_default_dtype())).removeprefix("torch.")

    @property
    def compute_dtype(self) -> str:
        """The dtype of the outputs, which is that of the weights."""
        return self.variable_dtype

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
        """Add a number to the loss of fitting, in `call`: one tensor, or a list of them.

        The outermost call of a layer or model forgets what the calls before it added.
        """
        if running.on_trial:
            return
        self.added_losses.extend(loss if isinstance(loss, (list, tuple)) else [loss])
        _ADDING.add(self)

    def clear_losses(self) -> None:
        """Forget what calls before this one added to the loss, here and in inner layers."""
        for part in self.modules():
            if isinstance(part, Layer):
                part.added_losses.clear()
                _ADDING.discard(part)

    @property
    def metrics(self) -> list[Metric]:
        """The metrics that are attributes of the layer and of its inner layers."""
        own = [value for value in self.__dict__.values() if isinstance(value, Metric)]
        return own + [metric for layer in self.inner_layers() for metric in layer.metrics]

    @property
    def metrics_variables(self) -> list[Any]:
        """The variables of the metrics."""
        return [variable for metric in self.metrics for variable in metric.variables]

    @property
    def losses(self) -> list[Tensor]:
        """What is added to the loss: by `add_loss` and activity regularizers in the last call, by weights."""
        added = [loss for part in self.modules() if isinstance(part, Layer) for loss in part.added_losses]
        of_weights = [weight.regularization_loss() for weight in self.keras_weights()]
        return added + [loss for loss in of_weights if loss is not None]

    def get_config(self) -> dict[str, Any]:
        """The constructor's options, defaults included: `type(layer)(**config)` makes an equal layer."""
        named = {
            key: activations.name_of(value) or value
            for key, value in self._options.items()
            if key.endswith("activation")
        }
        return {"name": self.name, "trainable": self._trainable, **self._options, **named}

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
