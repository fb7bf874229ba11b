"""Trains several networks of one shape at once: `train_many`, by torch.vmap over their stacked weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import fields
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils import _pytree as pytree

from longspan import errors, optimizers
from longspan.callbacks import EarlyStopping, History, TerminateOnNaN
from longspan.data.batches import Batch, as_batch, rows_of

from .evaluation import to_device
from .loop import train
from .objective import BatchLoss, as_loss

FEWEST = 4  # networks; torch.vmap costs more than it saves with fewer
BETAS, EPSILON = (0.9, 0.999), 1e-7  # of longspan.optimizers.Adam
Rate = float | Callable[[int], float]


class TrainingRuns(NamedTuple):
    """What `train_many` returns.

    histories: one a network, in their order; `stopped` of each says why it ended before its last epoch.
    how: one sentence that says whether the networks were trained at once, and if not, why.
    """

    histories: list[History]
    how: str


def train_many(
    networks: Sequence[nn.Module],
    batches: Sequence[Iterable[Any]],
    loss: Any,
    *,
    epochs: int,
    learning_rates: Rate | Sequence[Rate] = 1e-3,
    weight_decay: float | Sequence[float] = 0.0,
    validate: Sequence[Iterable[Any]] | None = None,
    patience: int | None = None,
    clip_norm: float | None = None,
) -> TrainingRuns:
    """Train several networks in place with Adam, at once where they are four or more and have one shape.

    Every network gets the numbers that `train` gives it alone, to rounding: its own batches, learning rate,
    clipping and early stopping. The recurrent layers of all run in one call, each network on one thread; for
    small networks that takes a fraction of the time. Random masks, as of dropout, are drawn for each network,
    but they are other ones than alone.

    Args:
        networks: each maps (batch, state) to (output, state); they differ in nothing but their weights.
        batches: one source for each network, iterated every epoch; one and the same object, as in
            `[source] * 8`, is iterated once for all.
        loss: as for `train`.
        epochs: the largest number of epochs.
        learning_rates: of Adam, one for all or one for each; a number, or a function from the step.
        weight_decay: the share of every weight taken off at a step, times the learning rate; one for all or
            one for each.
        validate: one source for each network; its loss is "val_loss".
        patience: epochs without a lower validation loss after which a network stops; it ends with the weights
            of its best epoch. None: all epochs, and the last weights.
        clip_norm: the largest norm of all gradients of a network together.

    Raises:
        ValueError, TypeError: an argument does not fit.

    >>> from longspan.data import Batches
    >>> class Line(torch.nn.Linear):
    ...     def forward(self, batch, state):
    ...         return super().forward(batch.x), state
    >>> networks, x = [Line(1, 1) for _ in range(4)], torch.rand(64, 1)
    >>> source = Batches(x, 3 * x + 1, batch_size=16)
    >>> rates = [0.1, 0.2, 0.3, 0.4]
    >>> runs = train_many(networks, [source] * 4, "mse", epochs=50, learning_rates=rates)
    >>> [history.history["loss"][-1] < 0.01 for history in runs.histories]
    [True, True, True, True]
    >>> runs.how
    'the 4 networks were trained at once.'
    """
    if not networks:
        raise errors.value_error("networks", "at least one network", "none", "give some")
    plan = _Plan(
        list(networks),
        _one_each("batches", batches, len(networks)),
        as_loss(loss),
        errors.check_int("epochs", epochs, 0, "give the largest number of epochs"),
        _one_each("learning_rates", learning_rates, len(networks)),
        _one_each("weight_decay", weight_decay, len(networks)),
        None if validate is None else _one_each("validate", validate, len(networks)),
        None if validate is None else patience,
        clip_norm,
    )
    optimizers.clipper(clip_norm, None)  # raises an error for a limit that is not above 0
    if (reason := _why_not(plan)) is None:
        return _Together(plan).run()
    histories = [_alone(plan, index) for index in range(len(networks))]
    return TrainingRuns(histories, f"the networks were trained one after another, since {reason}.")


class _Plan(NamedTuple):
    """The arguments of `train_many`, one of each for every network."""

    networks: list[nn.Module]
    batches: list[Any]
    loss: BatchLoss
    epochs: int
    rates: list[Rate]
    decays: list[float]
    validate: list[Any] | None
    patience: int | None
    clip_norm: float | None


def _one_each(name: str, values: Any, count: int) -> list[Any]:
    """One value for each network; a number or a function is repeated."""
    if isinstance(values, (int, float)) or callable(values):
        return [values] * count
    found = list(values)
    if len(found) != count:
        expected = f"one for each of {count} networks"
        raise errors.value_error(name, expected, len(found), "repeat one with [value] * count")
    return found


def _why_not(plan: _Plan) -> str | None:
    """Why the networks cannot be trained at once, in words that follow "since"; None if they can."""
    first, *others = plan.networks
    layers, shapes = repr(first), _shapes(first)
    for index, other in enumerate(others, 1):
        if type(other) is not type(first) or repr(other) != layers:
            return f"network {index} has other layers or options than network 0"
        if _shapes(other) != shapes:
            return f"network {index} has weights of other shapes than network 0"
    steps = {len(source) for source in plan.batches if isinstance(source, Sized)}
    if len(steps) > 1:
        return "they have different numbers of batches"
    few = len(plan.networks) < FEWEST
    return f"they are fewer than {FEWEST}, and torch.vmap would cost more than it saves" if few else None


def _shapes(network: nn.Module) -> list[Any]:
    named = [*network.named_parameters(), *network.named_buffers()]
    return [(name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in named]


def _alone(plan: _Plan, index: int) -> History:
    """Train one network by itself."""
    network, rate, patience = plan.networks[index], plan.rates[index], plan.patience
    optimizer = optimizers.Adam(1e-3 if callable(rate) else rate, weight_decay=plan.decays[index])
    callbacks: list[Any] = [TerminateOnNaN()]
    if patience is not None:
        callbacks.append(EarlyStopping("val_loss", patience=patience, restore_best_weights=True))
    return train(
        network,
        plan.batches[index],
        plan.loss,
        optimizer.build(network.parameters()),
        epochs=plan.epochs,
        validate=None if plan.validate is None else plan.validate[index],
        callbacks=callbacks,
        clip_norm=plan.clip_norm,
        schedule=rate if callable(rate) else None,
        verbose=0,
    )


class _Network:
    """One of the networks: its learning rate, its numbers so far, its best weights."""

    def __init__(self, plan: _Plan, index: int) -> None:
        self.module, self.batches = plan.networks[index], plan.batches[index]
        self.rate, self.decay = plan.rates[index], plan.decays[index]
        self.validate = None if plan.validate is None else plan.validate[index]
        self.history = History(params={"epochs": plan.epochs, "verbose": 0})
        self.best, self.wait, self.total, self.rows = math.inf, 0, 0.0, 0
        self.best_weights: list[Tensor] | None = None

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0; 0 for a network that has stopped."""
        if self.history.stopped:
            return 0.0
        return self.rate(step) if callable(self.rate) else self.rate

    def add(self, loss: float, rows: int, epoch: int) -> None:
        """Note the loss of a step; one that is NaN or infinite stops the network before the step is taken."""
        self.total, self.rows = self.total + loss * rows, self.rows + rows
        if not math.isfinite(loss) and self.history.stopped is None:
            self.history.stopped = f"the loss was {loss} at epoch {epoch + 1}"

    def end_epoch(
        self, epoch: int, val_loss: float | None, patience: int | None, weights: Callable[[], list[Tensor]]
    ) -> None:
        """Note an epoch's losses; decide whether it is the best one, and whether the network stops.

        Args:
            weights: gives those of the network as views.
        """
        logs = {"loss": self.total / self.rows}
        self.total, self.rows = 0.0, 0
        if val_loss is not None:
            logs["val_loss"] = val_loss
        self.history.add(epoch, logs)
        if val_loss is None or patience is None or self.history.stopped:
            return
        self.wait += 1
        if val_loss < self.best:
            self.best, self.wait, self.best_weights = val_loss, 0, [w.clone() for w in weights()]
        elif self.wait >= patience and epoch > 0:
            self.history.stopped = f"val_loss did not improve for {self.wait} epochs"

    @torch.no_grad()
    def finish(self, weights: list[Tensor]) -> None:
        """Put the last weights, or those of the best epoch, in the module."""
        for own, value in zip(_tensors(self.module), self.best_weights or weights, strict=True):
            own.copy_(value)


def _tensors(module: nn.Module) -> list[Tensor]:
    return [*module.parameters(), *module.buffers()]


class _Together:
    """Trains all networks at once; those that stop are left out from the next epoch on."""

    def __init__(self, plan: _Plan) -> None:
        self.plan, self.steps = plan, 0
        self.networks = self.active = [_Network(plan, index) for index in range(len(plan.networks))]
        self.module = plan.networks[0]
        self.move = to_device(self.module)
        self.one_by_one: str | None = None  # why torch.vmap cannot run the networks
        self.odd_steps = 0  # whose batches have different shapes
        for network in plan.networks:
            network.train()
        parameters, self.buffers = stack_module_state(plan.networks)
        learn = {name for name, p in self.module.named_parameters() if p.requires_grad}
        self.parameters = {k: p.detach().requires_grad_(k in learn) for k, p in parameters.items()}
        self.learning = [p for p in self.parameters.values() if p.requires_grad]
        self.averages = [torch.zeros_like(p) for p in self.learning]
        self.squares = [torch.zeros_like(p) for p in self.learning]

    def run(self) -> TrainingRuns:
        for epoch in range(self.plan.epochs):
            if not self.active:
                break
            self._run_epoch(epoch)
        for index, network in enumerate(self.active):
            network.finish(self._weights_of(index))
        return TrainingRuns([network.history for network in self.networks], self._how())

    def _how(self) -> str:
        if self.one_by_one is not None:
            return f"every step took the networks one after another, since torch.vmap says: {self.one_by_one}"
        odd = f" but for {self.odd_steps} steps, whose batches differ in shape or have lengths"
        return f"the {len(self.networks)} networks were trained at once{odd if self.odd_steps else ''}."

    def _weights_of(self, index: int) -> list[Tensor]:
        return [t[index].detach() for t in (*self.parameters.values(), *self.buffers.values())]

    def _run_epoch(self, epoch: int) -> None:
        self.module.train()
        for batches in self._steps([network.batches for network in self.active]):
            self._step(batches, epoch)
        validation: Sequence[float | None] = [None] * len(self.active)
        if self.plan.validate is not None:
            validation = self._validate([network.validate for network in self.active])
        for index, (network, val_loss) in enumerate(zip(self.active, validation, strict=True)):
            network.end_epoch(epoch, val_loss, self.plan.patience, partial(self._weights_of, index))
        self._leave_out_stopped()

    def _steps(self, sources: list[Any]) -> Iterator[list[Batch]]:
        """The batches of all networks, step by step; one object for all where the source is one."""
        move = self.move
        if all(source is sources[0] for source in sources):
            for item in sources[0]:
                yield [move(as_batch(item))] * len(sources)
        else:
            for items in zip(*sources, strict=True):
                yield [move(as_batch(item)) for item in items]

    def _losses(self, batches: list[Batch]) -> Tensor:
        """(K,), the loss of every network on its batch."""
        first = batches[0]
        if any(batch.continues for batch in batches):
            expected, way_out = (
                "rows that stand alone",
                "train one after another with longspan.training.train",
            )
            raise errors.value_error("batches", expected, "batches that continue each other", way_out)
        if self.one_by_one is not None:
            return self._losses_one_by_one(batches)
        if all(batch is first for batch in batches):
            return self._mapped(_values(first), None, batches)
        if (values := _stacked(batches)) is not None:
            return self._mapped(values, 0, batches)
        self.odd_steps += 1
        return self._losses_one_by_one(batches)

    def _mapped(self, values: dict[str, Any], dim: int | None, batches: list[Batch]) -> Tensor:
        """The losses by torch.vmap; dim: where the batch's tensors have the networks, None for nowhere."""
        in_dims = pytree.tree_map(lambda leaf: dim if isinstance(leaf, Tensor) else None, values)
        try:
            return vmap(self._loss_of_one, (0, 0, in_dims), randomness="different")(
                self.parameters, self.buffers, values
            )
        except Exception as error:  # one of the networks' own comes again below
            self.one_by_one = (
                str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            )
            return self._losses_one_by_one(batches)

    def _losses_one_by_one(self, batches: list[Batch]) -> Tensor:
        losses = []
        for index, batch in enumerate(batches):
            parameters, buffers = (
                {name: tensor[index] for name, tensor in state.items()}
                for state in (self.parameters, self.buffers)
            )
            losses.append(self._loss_of_one(parameters, buffers, _values(batch)))
        return torch.stack(losses)

    def _loss_of_one(self, parameters: Any, buffers: Any, values: dict[str, Any]) -> Tensor:
        batch = Batch(**values)
        output, _ = functional_call(self.module, (parameters, buffers), (batch, None))
        return self.plan.loss(output, batch)

    def _step(self, batches: list[Batch], epoch: int) -> None:
        losses = self._losses(batches)
        gradients = torch.autograd.grad(losses.sum(), self.learning)
        for network, batch, value in zip(self.active, batches, losses.tolist(), strict=True):
            network.add(value, rows_of(batch), epoch)
        self.steps += 1
        self._update(gradients)

    @torch.no_grad()
    def _update(self, gradients: Sequence[Tensor]) -> None:
        """Adam as `longspan.optimizers.Adam` computes it, with a rate for each network."""
        scale = _clipping(gradients, self.plan.clip_norm)
        first, second = (1.0 - beta**self.steps for beta in BETAS)
        rates = torch.tensor([n.rate_at(self.steps - 1) for n in self.active], dtype=torch.float64)
        factors = (rates / first).to(gradients[0])
        kept = 1.0 - rates * torch.tensor([n.decay for n in self.active], dtype=torch.float64)
        kept = None if bool(kept.eq(1.0).all()) else kept.to(gradients[0])
        moving = torch.tensor([not n.history.stopped for n in self.active], device=gradients[0].device)
        for weight, gradient, average, square in zip(
            self.learning, gradients, self.averages, self.squares, strict=True
        ):
            shape = (-1, *[1] * (weight.dim() - 1))
            if scale is not None:
                gradient = gradient * scale.view(shape)
            average.lerp_(gradient, 1.0 - BETAS[0])
            square.mul_(BETAS[1]).addcmul_(gradient, gradient, value=1.0 - BETAS[1])
            change = average / square.div(second).sqrt_().add_(EPSILON / math.sqrt(second))
            if not moving.all():
                change = torch.where(moving.view(shape), change, 0.0)  # NaN times a rate of 0 is NaN
            if kept is not None:
                weight.mul_(kept.view(shape))
            weight.sub_(change.mul_(factors.view(shape)))

    @torch.no_grad()
    def _validate(self, sources: list[Any]) -> list[float]:
        self.module.eval()
        totals, rows = torch.zeros(len(sources), dtype=torch.float64), torch.zeros(len(sources))
        for batches in self._steps(sources):
            counts = torch.tensor([float(rows_of(batch)) for batch in batches])
            totals += self._losses(batches).double().cpu() * counts
            rows += counts
        return (totals / rows).tolist()

    def _leave_out_stopped(self) -> None:
        """Give the networks that have stopped their weights, and go on with the others."""
        left = [index for index, network in enumerate(self.active) if not network.history.stopped]
        if len(left) == len(self.active):
            return
        for index, network in enumerate(self.active):
            if network.history.stopped:
                network.finish(self._weights_of(index))
        self.active = [self.active[index] for index in left]
        rows = torch.tensor(left, dtype=torch.int64)
        for state in (self.parameters, self.buffers):
            for name, tensor in state.items():
                kept = tensor.detach().index_select(0, rows.to(tensor.device))
                state[name] = kept.requires_grad_(tensor.requires_grad)
        self.learning = [p for p in self.parameters.values() if p.requires_grad]
        self.averages, self.squares = (
            [t.index_select(0, rows.to(t.device)) for t in tensors]
            for tensors in (self.averages, self.squares)
        )


def _clipping(gradients: Sequence[Tensor], limit: float | None) -> Tensor | None:
    """(K,), factors of the gradients of each network, so that their joint norm is at most `limit`."""
    if limit is None:
        return None
    norms = torch.stack([g.flatten(1).square().sum(1) for g in gradients]).sum(0).sqrt()
    return (limit / norms).clamp(max=1.0)


_FIELDS = tuple(field.name for field in fields(Batch))


def _values(batch: Batch) -> dict[str, Any]:
    return {name: getattr(batch, name) for name in _FIELDS}


def _stacked(batches: Sequence[Batch]) -> dict[str, Any] | None:
    """The values of all batches, their tensors stacked.

    Returns:
        None where tensors differ in shape or other values in any way, or where there are lengths, which would
        have to be the same for all.
    """
    if any(batch.lengths is not None for batch in batches):
        return None
    values = {name: _stacked_field([getattr(batch, name) for batch in batches]) for name in _FIELDS}
    return None if any(value is _UNLIKE for value in values.values()) else values


_UNLIKE = object()


def _stacked_field(column: list[Any]) -> Any:
    """One field of all batches with its tensors stacked, _UNLIKE where they cannot be."""
    first = column[0]
    if isinstance(first, Tensor):
        alike = all(isinstance(value, Tensor) and value.shape == first.shape for value in column)
        return torch.stack(column) if alike else _UNLIKE
    if first is None or isinstance(first, (bool, int, float, str)):
        return first if all(type(value) is type(first) and value == first for value in column) else _UNLIKE
    parts = [pytree.tree_flatten(value) for value in column]
    if parts[0][1].is_leaf() or any(spec != parts[0][1] for _, spec in parts):
        return _UNLIKE
    leaves = [_stacked_field(list(place)) for place in zip(*(leaves for leaves, _ in parts), strict=True)]
    return _UNLIKE if any(leaf is _UNLIKE for leaf in leaves) else pytree.tree_unflatten(leaves, parts[0][1])
