"""Runs one rival in its own process: fit as a script would, then two epochs from given weights.

Run by benchmarks.sequential, with nothing imported but what the rival itself needs:

    python -m benchmarks.rivals RIVAL WORKLOAD DATA.npz EPOCHS
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any

import numpy as np

PARITY_EPOCHS = 2
RATE = 0.01  # of the plain gradient descent in these

RIVALS = ("longspan", "keras-tensorflow", "keras-jax", "keras-torch", "torch")


@dataclass(frozen=True)
class Workload:
    """A script as people write it.

    Args:
        title: what it is.
        row: the layers, from a module with Keras' names; `drop` is the rate of dropout.
        loss, metrics: as Keras names them.
        batch_size, epochs: as in the script.
        validated: whether it validates after every epoch.
    """

    title: str
    row: Callable[[Any, float], list[Any]]
    loss: str
    metrics: tuple[str, ...]
    batch_size: int
    epochs: int
    validated: bool = False


def _next_number(m: Any, drop: float) -> list[Any]:
    return [m.LSTM(128), m.Dense(1)]


def _table(m: Any, drop: float) -> list[Any]:
    return [m.LSTM(50, return_sequences=True), m.Dropout(drop), m.LSTM(50), m.Dropout(drop), m.Dense(1)]


def _window(m: Any, drop: float) -> list[Any]:
    return [m.LSTM(50, activation="tanh"), m.Dense(1)]


def _classes(m: Any, drop: float) -> list[Any]:
    return [m.LSTM(128), m.Dense(10, activation="softmax")]


def _text(m: Any, drop: float) -> list[Any]:
    return [m.Embedding(5000, 32, mask_zero=True), m.LSTM(64), m.Dense(1, activation="sigmoid")]


WORKLOADS = {
    "a": Workload("next number", _next_number, "mse", (), 1, 100),
    "b": Workload("table, stacked", _table, "mse", (), 32, 50, validated=True),
    "c": Workload("window of a series", _window, "mse", (), 16, 100),
    "d": Workload("classes", _classes, "categorical_crossentropy", ("accuracy",), 32, 10),
    "text": Workload("padded text", _text, "binary_crossentropy", ("accuracy",), 32, 3),
}


def say(**facts: Any) -> None:
    """One line for the parent, at once."""
    print(json.dumps(facts), flush=True)


class Stopwatch:
    """From now on: the seconds on the clock and those of the processor, in all threads."""

    def __init__(self) -> None:
        self.clock, self.processor = perf_counter(), process_time()

    def say_fitted(self) -> None:
        """Tell the parent how long fit took, and the processor's seconds since the process began."""
        clock, now = perf_counter() - self.clock, process_time()
        say(event="fitted", clock=clock, processor=now - self.processor, since_start=now)


def weights_of(data: Any) -> list[np.ndarray]:
    """The weights to start the parity run from, in Keras' order."""
    return [data[f"w{i}"] for i in range(sum(name.startswith("w") for name in data))]


def keras_shaped(workload: Workload, data: Any, epochs: int, library: Any) -> None:
    """The script in Keras' words, for Keras and for longspan alike."""
    x, y = data["x"], data["y"]

    def made(drop: float, optimizer: Any) -> Any:
        model = library.Sequential([library.Input(x.shape[1:]), *workload.row(library.layers, drop)])
        model.compile(optimizer=optimizer, loss=workload.loss, metrics=list(workload.metrics))
        return model

    held_out = {"validation_data": (data["vx"], data["vy"])} if workload.validated else {}
    model = made(0.2, "adam")
    watch = Stopwatch()
    model.fit(x, y, epochs=epochs, batch_size=workload.batch_size, verbose=0, **held_out)
    watch.say_fitted()
    model = made(0.0, library.optimizers.SGD(RATE))
    model.set_weights(weights_of(data))
    history = model.fit(x, y, epochs=PARITY_EPOCHS, batch_size=workload.batch_size, verbose=0, shuffle=False)
    say(event="parity", losses=[float(loss) for loss in history.history["loss"]])


def with_torch(name: str, workload: Workload, data: Any, epochs: int) -> None:
    """The loop that people write by hand: DataLoader, modules of torch.nn, Adam."""
    import torch
    from torch import nn
    from torch.nn.utils.rnn import pack_padded_sequence
    from torch.utils.data import DataLoader, TensorDataset

    class Last(nn.Module):
        """An LSTM's output at the last step; of real steps where rows are padded."""

        def __init__(self, inputs: int, units: int) -> None:
            super().__init__()
            self.lstm = nn.LSTM(inputs, units, batch_first=True)

        def forward(self, x: torch.Tensor, lengths: torch.Tensor | None = None) -> torch.Tensor:
            packed: Any = x
            if lengths is not None:
                packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            _, (h, _) = self.lstm(packed)
            return h[-1]

    class Net(nn.Module):
        def __init__(self, inputs: int, drop: float) -> None:
            super().__init__()
            units = {"a": 128, "b": 50, "c": 50, "d": 128, "text": 64}[name]
            outputs = 10 if name == "d" else 1
            self.embedding = nn.Embedding(5000, 32) if name == "text" else None
            self.below = nn.LSTM(inputs, units, batch_first=True) if name == "b" else None
            inner = 32 if name == "text" else units if name == "b" else inputs
            self.last, self.dense = Last(inner, units), nn.Linear(units, outputs)
            self.drop = nn.Dropout(drop)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            lengths = None
            if self.embedding is not None:
                lengths = (x != 0).sum(1)
                x = self.embedding(x)
            if self.below is not None:
                x = self.drop(self.below(x)[0])
            return self.dense(self.drop(self.last(x, lengths)))

    criterion = {"d": nn.CrossEntropyLoss(), "text": nn.BCEWithLogitsLoss()}.get(name, nn.MSELoss())

    def tensors(x: np.ndarray, y: np.ndarray) -> TensorDataset:
        return TensorDataset(torch.as_tensor(x), torch.as_tensor(y).reshape(len(y), -1))

    def fit(net: Any, optimizer: Any, count: int, shuffle: bool, validate: bool) -> list[float]:
        loader = DataLoader(tensors(data["x"], data["y"]), workload.batch_size, shuffle=shuffle)
        held_out = DataLoader(tensors(data["vx"], data["vy"]), workload.batch_size)
        losses = []
        for _ in range(count):
            net.train()
            total = 0.0
            for x, y in loader:
                optimizer.zero_grad()
                loss = criterion(net(x), y)
                loss.backward()
                optimizer.step()
                total += loss.item() * len(x)
            losses.append(total / len(data["x"]))
            if validate:
                net.eval()
                with torch.no_grad():
                    sum(criterion(net(x), y).item() * len(x) for x, y in held_out)
        return losses

    net = Net(data["x"].shape[-1], 0.2 if name == "b" else 0.0)
    optimizer = torch.optim.Adam(net.parameters())
    watch = Stopwatch()
    fit(net, optimizer, epochs, True, workload.validated)
    watch.say_fitted()
    net = Net(data["x"].shape[-1], 0.0)
    learned = _take(net, weights_of(data), name)
    losses = fit(net, torch.optim.SGD(learned, lr=RATE), PARITY_EPOCHS, False, False)
    say(event="parity", losses=losses)


def _take(net: Any, weights: list[np.ndarray], name: str) -> list[Any]:
    """Keras' weights into the modules; the parameters to learn, which leave out torch's second bias."""
    import torch

    left, learned = list(weights), []

    def put(parameter: Any, value: np.ndarray) -> None:
        with torch.no_grad():
            parameter.copy_(torch.as_tensor(value))
        learned.append(parameter)

    if name == "text":
        put(net.embedding.weight, left.pop(0))
    for lstm in ([net.below] if name == "b" else []) + [net.last.lstm]:
        put(lstm.weight_ih_l0, left.pop(0).T)
        put(lstm.weight_hh_l0, left.pop(0).T)
        put(lstm.bias_ih_l0, left.pop(0))
        with torch.no_grad():
            lstm.bias_hh_l0.zero_()
    put(net.dense.weight, left.pop(0).T)
    put(net.dense.bias, left.pop(0))
    return learned


def main(rival: str, name: str, path: str, epochs: str) -> None:
    """Run one rival on one workload; what it says goes to the parent."""
    workload = WORKLOADS[name]
    data = np.load(path)
    if rival.startswith("keras-"):
        os.environ["KERAS_BACKEND"] = rival.removeprefix("keras-")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        import keras  # pyright: ignore[reportMissingImports]

        keras_shaped(workload, data, int(epochs), keras)
    elif rival == "longspan":
        import longspan

        keras_shaped(workload, data, int(epochs), longspan)
    else:
        with_torch(name, workload, data, int(epochs))


if __name__ == "__main__":
    main(*sys.argv[1:])
