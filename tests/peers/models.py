"""Keras' private ways to make models, over the public ones."""

from __future__ import annotations

from typing import Any

from longspan import layers, models


class _Graphs(type):
    """Of a class whose instances are the models that symbolic tensors make."""

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, models.Model) and instance.graph is not None


class Functional(metaclass=_Graphs):
    """A model of symbolic tensors; `Model` itself makes it."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        return models.Model(*args, **kwargs)

    from_config = models.Model.from_config


class _Wrapped(models.Model):
    """A layer as a model."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def call(self, inputs: Any, training: bool = False) -> Any:
        takes = type(self.layer).call_arguments.training
        return self.layer(inputs, training=training) if takes else self.layer(inputs)


_DELEGATED = (
    "compile", "fit", "evaluate", "predict", "train_on_batch", "test_on_batch", "predict_on_batch",
)  # fmt: skip
_READ = (
    "metrics", "metrics_names", "optimizer", "loss", "history", "compiled_metrics", "run_eagerly",
    "jit_compile",
)  # fmt: skip


class _Stepping(_Wrapped):
    """A layer with training steps of its own as a model."""

    def train_step(self, data: Any) -> Any:
        return self.layer.train_step(data)

    def test_step(self, data: Any) -> Any:
        return self.layer.test_step(data)


class TorchTrainer:
    """What makes a model of a layer that also derives from it: the layer in a model of its own."""

    def __init__(self) -> None:
        steps = type(self).train_step is not TorchTrainer.train_step
        self.__dict__["_model"] = (_Stepping if steps else _Wrapped)(self)

    def train_step(self, data: Any) -> Any:
        return models.Model.train_step(self.__dict__["_model"], data)

    def test_step(self, data: Any) -> Any:
        return models.Model.test_step(self.__dict__["_model"], data)


def _method(name: str) -> Any:
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.__dict__["_model"], name)(*args, **kwargs)

    return call


for _name in _DELEGATED:
    setattr(TorchTrainer, _name, _method(_name))
for _name in _READ:
    setattr(
        TorchTrainer,
        _name,
        property(
            lambda self, name=_name: getattr(self.__dict__["_model"], name),
            lambda self, value, name=_name: setattr(self.__dict__["_model"], name, value),
        ),
    )
Layer = layers.Layer
