"""Compiles a model: its optimizer, and the loss and metrics of every output."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer

from longspan import errors, losses, metrics, optimizers

from .compiled import CompileArguments, JointLoss, OutputTarget
from .own_steps import OwnSteps
from .train_step import CompiledLoss, TrainingAdapter, batch_metrics


class CompiledModel(OwnSteps):
    """A model with the arguments of `compile`. Abstract; see Model."""

    optimizer_config: optimizers.OptimizerConfig | None
    compile_arguments: CompileArguments | None
    run_eagerly: bool
    jit_compile: bool
    _optimizer: Optimizer | None
    _optimizer_state: Any
    _targets: tuple[list[OutputTarget], list[JointLoss]] | None

    def compile(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        optimizer: str | optimizers.OptimizerConfig | Optimizer = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Any = None,
        weighted_metrics: Any = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Set the optimizer, the loss and the metrics of training.

        Args:
            optimizer: a name ("adam", "adamw", "sgd", "rmsprop"), one of longspan.optimizers, or a running
                torch.optim optimizer over the model's parameters.
            loss: a name ("mse", "categorical_crossentropy", …), one of longspan.losses, or a function
                (y_true, y_pred) -> one value a row. For several outputs one for all, a list, or a dict by
                the outputs' names; None for an output that is not trained.
            loss_weights: by which the losses of several outputs are multiplied before they are added, a list
                or a dict; None: 1 each.
            metrics: names ("accuracy", "mae", "auc", …), metrics, or functions. For several outputs a list
                with a metric or list for each, or a dict by name.
            weighted_metrics: the same, weighted by sample and class weights.
            run_eagerly, steps_per_execution, jit_compile: accepted without effect.

        Raises:
            ValueError: a name is unknown; the nearest is given.
        """
        self.run_eagerly, self.jit_compile = bool(run_eagerly), jit_compile is True
        self.optimizer_config = None if isinstance(optimizer, Optimizer) else optimizers.get(optimizer)
        self._optimizer = optimizer if isinstance(optimizer, Optimizer) else None
        self._optimizer_state = None
        if isinstance(optimizer, Optimizer) and self._projections():
            way_out = "give one of longspan.optimizers, or leave the constraints out"
            raise errors.type_error(
                "optimizer", "one that applies constraints of weights", optimizer, way_out
            )
        self.compile_arguments = CompileArguments(loss, loss_weights, metrics, weighted_metrics)
        self._targets = None
        if self.output_names is not None:
            self._resolve_targets()

    def _resolve_targets(self) -> tuple[list[OutputTarget], list[JointLoss]]:
        """The targets of `compile`, resolved once."""
        names = self.output_names or ["output"]
        if self.compile_arguments is None:
            return [OutputTarget(name, None) for name in names], []
        if self._targets is None:
            structure = self.output_structure if len(names) > 1 else None
            self._targets = self.compile_arguments.targets(names, structure)
        return self._targets

    @property
    def compiled(self) -> bool:
        """Whether `compile` was called."""
        return self.compile_arguments is not None

    @property
    def targets(self) -> list[OutputTarget]:
        """The loss, its weight and the metrics of every output, once the outputs are known."""
        return self._resolve_targets()[0]

    @property
    def joint_losses(self) -> list[JointLoss]:
        """The losses of several outputs together, and all but the first of an output."""
        return self._resolve_targets()[1]

    @property
    def loss(self) -> losses.Loss | list[losses.Loss | None] | None:
        """The loss, None before `compile`; of several outputs a list."""
        every = [target.loss for target in self.targets]
        return every[0] if len(every) == 1 else every

    @property
    def compiled_metrics(self) -> list[tuple[metrics.Metric, bool]]:
        """The metrics of all outputs, each with whether sample weights count."""
        return [pair for target in self.targets for pair in target.metrics]

    @property
    def optimizer(self) -> Any:
        """The optimizer of the weights, made once the model is built."""
        if self._optimizer is None and self.optimizer_config is not None and self.built:
            learned = [p for p in self.parameters() if p.requires_grad]
            if not learned:
                warnings.warn(
                    f"{self.name}: no weight may change, so that fit changes nothing.", stacklevel=3
                )
            self._optimizer = self.optimizer_config.build(learned, self._weight_paths())
            self._optimizer.projections += self._projections()
            if self._optimizer_state is not None:
                self._optimizer.load_state_dict(self._optimizer_state)
                self._optimizer_state = None
        return self._optimizer or self.optimizer_config

    def _weight_paths(self) -> dict[int, str]:
        """id of a tensor -> the names of its layer and of its weight, by which optimizers choose."""
        return {
            id(tensor): f"{layer.name}/{weight.name}"
            for layer in self.layers
            for weight in layer.keras_weights()
            for tensor in weight.tensors()
        }

    def _projections(self) -> list[Callable[[], None]]:
        """What applies the weights' constraints after a step of the optimizer."""
        return [weight.project for weight in self.keras_weights() if weight.constraint is not None]

    @property
    def metrics(self) -> list[metrics.Metric]:
        """The metrics of `compile`, those of all outputs, and those that are attributes of the model.

        Of a class with steps of its own the loss comes first.
        """
        compiled = [metric for metric, _ in self.compiled_metrics]
        own = self.own_metrics()
        return [self.loss_tracker, *compiled, *own] if self.has_own_steps() else [*compiled, *own]

    @property
    def metrics_names(self) -> list[str]:
        """ "loss", of several outputs the loss of each, then the metrics."""
        adapter = TrainingAdapter(self)
        loss = CompiledLoss(adapter, self.targets, self.joint_losses)
        return ["loss", *(metric.name for metric in batch_metrics(adapter, self.targets, loss))]
