"""Estimator: nine parts to override, final verbs, and four kinds of tasks beside the built-in ones.

Beam search with an option of `predict`, outputs with lengths of their own and metrics of decoded answers
after every epoch (CTC), a loss that differs in validation (sampled softmax), and a state carried from batch
to batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from typing_extensions import Self

from longspan.data import Batch, Batches, BPTTChunks
from longspan.tasks import TASKS, persistence, task
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.estimator import Estimator
from longspan.tasks.network import StreamingNetwork, TaskNetwork
from longspan.tasks.options import option, options_of
from longspan.tasks.parts import Fitted, TaskParts, Use

PARTS = {
    "read", "split", "codec", "network", "batches", "learn", "calibrate", "start_stream", "report",
}  # fmt: skip

READING = {"fit", "predict", "evaluate"}  # verbs to which a task may add keywords about its sources


def overridable(kind: type) -> set[str]:
    """Public methods and properties that are not final."""
    return {
        name
        for base in kind.__mro__[:-1]
        for name, value in vars(base).items()
        if (inspect.isfunction(value) and not name.startswith("_") and not getattr(value, "__final__", False))
    }


def test_an_estimator_has_nine_overridable_parts() -> None:
    assert overridable(Estimator) == PARTS | READING and len(PARTS) == 9
    assert TaskParts.__abstractmethods__ == {"read", "codec", "network", "batches"}


@pytest.mark.parametrize("name", TASKS)
def test_a_task_overrides_only_the_parts(name: str) -> None:
    own = {one for one in vars(task(name)) if one in vars(Estimator) or one in vars(TaskParts)}
    fields, dunder = set(options_of(task(name))), {one for one in own if one.startswith("__")}
    constants = {"name", "schedule", "decode_validation", "_abc_impl", "_estimator_type", "reads_texts"}
    constants |= {"takes_targets", "_conflict"}
    assert own - fields - dunder - constants <= PARTS | READING
    for verb in own & READING:
        added, given = inspect.signature(vars(task(name))[verb]), inspect.signature(vars(Estimator)[verb])
        new = [parameter for key, parameter in added.parameters.items() if key not in given.parameters]
        assert set(given.parameters) <= set(added.parameters)
        assert all(parameter.kind is parameter.KEYWORD_ONLY for parameter in new)


class Words(Codec[list[list[int]]]):
    """Sequences of whole numbers stay as they are."""

    def fit(self, train: list[list[int]], valid: list[list[int]] | None = None) -> Self:
        self.size = 1 + max(max(one, default=0) for one in train)
        return self

    def decode(self, predictions: list[Any], records: list[list[int]]) -> list[list[int]]:
        return [one for part in predictions for one in part]

    def truth(self, records: list[list[int]]) -> list[list[int]]:
        return records

    def metrics(self) -> Metrics:
        return {
            "wrong": lambda a, truth: float(np.mean([one != it for one, it in zip(a, truth, strict=True)]))
        }

    def state(self) -> Any:
        return {"size": self.size}

    def restore(self, state: Any) -> Self:
        self.size = state["size"]
        return self


@dataclass(eq=False, repr=False, kw_only=True)
class Toy(Estimator[Any, Any, Any, Any]):
    """What the four have in common."""

    epochs: int | None = option(30, "rounds", group="training", minimum=1)
    learning_rate: float | None = option(0.1, "rate", group="training", positive=True)
    name: ClassVar[str] = "toy"

    def read(
        self, source: Any, y: Any = None, *, use: Use = "fit", fitted: Fitted[Any, Any, Any] | None = None
    ) -> Any:
        return source

    def codec(self) -> Codec[Any]:
        return Words()

    def batches(self, codec: Any, records: Any, *, train: bool) -> Iterable[Batch]:
        x = torch.tensor(records)
        return Batches(x, x, batch_size=self.batch_size, shuffle=train)


# ---- beam search


class Bigrams(StreamingNetwork):
    """The probability of every word given the one before; 0 begins."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(size, size))

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        return self.table[F.pad(batch.x, (1, 0))[:, :-1]], None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(output.flatten(0, 1), batch.y.flatten())

    def initial_state(self) -> int:
        return 0

    def step(self, inputs: int, state: int) -> tuple[Tensor, int]:
        return self.table[inputs].log_softmax(-1), inputs

    def predict(self, batch: Batch, *, beam_size: int = 1) -> list[list[int]]:
        return [self._likeliest(beam_size, batch.x.shape[1]) for _ in batch.x]

    def _likeliest(self, beam_size: int, length: int) -> list[int]:
        beams: list[tuple[float, list[int], Any]] = [(0.0, [0], self.initial_state())]
        for _ in range(length):
            longer = []
            for score, words, state in beams:
                scores, after = self.step(words[-1], state)
                longer += [(score + float(one), [*words, word], after) for word, one in enumerate(scores)]
            beams = sorted(longer, key=lambda beam: -beam[0])[:beam_size]
        return beams[0][1][1:]


@dataclass(eq=False, repr=False, kw_only=True)
class Speller(Toy):
    """Spells the likeliest sequence."""

    beam_size: int = option(1, "sequences kept at every step", group="predict", minimum=1)

    def network(self, codec: Any, train: Any) -> Bigrams:
        return Bigrams(codec.size)


def test_beam_search_is_an_option_of_predict(tmp_path: Path) -> None:
    source = [[1, 3], [1, 4], [1, 5], [2, 6], [2, 6]] * 12
    speller = Speller(validation_fraction=0.0, epochs=60).fit(source, verbose=0)
    assert speller.predict([[0, 0]])[0][0] == 1, "greedy takes the likeliest first word"
    assert speller.predict([[0, 0]], beam_size=3) == [[2, 6]] and speller.beam_size == 1
    assert speller.predict([[0, 0]], beam_size=None) == speller.predict([[0, 0]])
    assert speller.evaluate([[2, 6], [1, 3]], beam_size=3) == {"wrong": 0.5}
    with pytest.raises(ValueError, match="beam_size: expected a whole number of at least 1, received 0"):
        speller.predict([[0, 0]], beam_size=0)
    with pytest.raises(TypeError, match="option of predict: expected one of beam_size, received 'beams'"):
        speller.predict([[0, 0]], beams=3)
    assert speller.set_params(beam_size=3).predict([[0, 0]]) == [[2, 6]]
    assert speller.evaluate([[2, 6], [1, 3]]) == {"wrong": 0.5}
    speller.save(tmp_path / "model")
    again = Speller(beam_size=3)
    again.fitted_, again.notes_ = persistence.restore(again, persistence.artifact.load(tmp_path / "model"))
    assert again.predict([[0, 0]]) == [[2, 6]]


# ---- outputs with lengths of their own, decoded metrics after every epoch


class Heard(NamedTuple):
    """Log-probabilities (B, T', V), 0 the blank, and how many of the steps are real (B,)."""

    log_probabilities: Tensor
    lengths: Tensor


class Listener(TaskNetwork):
    """Reads two steps at once, so that outputs are half as long as inputs."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.head = nn.Conv1d(4, size, 2, 2)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Heard, Any]:
        assert batch.lengths is not None
        scores = self.head(F.one_hot(batch.x, 4).float().transpose(1, 2)).transpose(1, 2)
        return Heard(scores.log_softmax(-1), batch.lengths // 2), None

    def loss(self, output: Heard, batch: Batch) -> Tensor:
        spoken, targets = (batch.y > 0).sum(1), batch.y
        return F.ctc_loss(output.log_probabilities.transpose(0, 1), targets, output.lengths, spoken)

    def predict(self, batch: Batch) -> list[list[int]]:
        output, _ = self(batch)
        best = [row[:n].unique_consecutive() for row, n in zip(output[0].argmax(-1), output[1], strict=True)]
        return [[int(one) for one in row if one] for row in best]


class Transcripts(Words):
    """Pairs (sound, words)."""

    def fit(self, train: Any, valid: Any = None) -> Self:
        return super().fit([words for _, words in train])

    def truth(self, records: Any) -> list[list[int]]:
        return [words for _, words in records]


@dataclass(eq=False, repr=False, kw_only=True)
class Recogniser(Toy):
    """Hears words: each is its number four times, then silence."""

    decode_validation: ClassVar[bool] = True

    def codec(self) -> Transcripts:
        return Transcripts()

    def network(self, codec: Any, train: Any) -> Listener:
        return Listener(codec.size)

    def batches(self, codec: Any, records: Any, *, train: bool) -> list[Batch]:
        lengths = torch.tensor([len(sound) for sound, _ in records])
        x, y = (
            nn.utils.rnn.pad_sequence([torch.tensor(one[place]) for one in records], batch_first=True)
            for place in (0, 1)
        )
        return [Batch(x, y, lengths=lengths)]


def test_outputs_have_their_own_lengths_and_decoded_metrics_come_after_every_epoch() -> None:
    draw = np.random.default_rng(0)
    words = [draw.integers(1, 4, draw.integers(1, 5)).tolist() for _ in range(60)]
    source = [([int(step) for one in spoken for step in (one,) * 4 + (0, 0)], spoken) for spoken in words]
    task = Recogniser(epochs=60, patience=None).fit(source, verbose=0)
    wrong = task.history_.history["val_wrong"]
    assert len(wrong) == 60 and wrong[0] > 0.5 and wrong[-1] == 0.0
    assert task.evaluate(source[:10]) == {"wrong": 0.0} and task.predict(source[:1]) == words[:1]


# ---- a loss that differs in validation


class Shop(TaskNetwork):
    """The next item given the last one, by few drawn items in training and by all of them in validation."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.items, self.seen = nn.Parameter(0.1 * torch.randn(size, size)), {True: 0, False: 0}

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        return self.items[batch.x[:, 0]], None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        self.seen[self.training] += 1
        truth = batch.y[:, 1]
        if not self.training:
            return F.cross_entropy(output, truth)
        drawn = torch.randint(output.shape[1], (len(output), 4), device=output.device)
        scores = output.gather(1, torch.cat([truth.unsqueeze(1), drawn], 1))
        return F.cross_entropy(scores, torch.zeros_like(truth))

    def predict(self, batch: Batch) -> list[list[int]]:
        return self(batch)[0].topk(2).indices.tolist()


@dataclass(eq=False, repr=False, kw_only=True)
class Recommender(Toy):
    """Recommends two items."""

    def network(self, codec: Any, train: Any) -> Shop:
        return Shop(codec.size)


def test_validation_ranks_all_items_where_training_draws_some() -> None:
    source = [[item, (item + 1) % 9] for item in range(9)] * 8
    task = Recommender(patience=None).fit(source, verbose=0)
    network, held = task.network_, torch.tensor(source[-11:])
    with torch.no_grad():
        full = F.cross_entropy(network.items[held[:, 0]], held[:, 1])
    assert task.history_.history["val_loss"][-1] == pytest.approx(float(full), rel=1e-5)
    assert network.seen == {True: 30, False: 30}
    assert [row[0] for row in task.predict(source[:9])] == [(item + 1) % 9 for item in range(9)]


# ---- a state carried from batch to batch


class Memory(StreamingNetwork):
    """An RNN over chunks of one long sequence; its first value decides all targets."""

    def __init__(self) -> None:
        super().__init__()
        self.core, self.head = nn.GRU(1, 4, batch_first=True), nn.Linear(4, 1)
        self.states: list[bool] = []

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        if self.training:
            self.states.append(state is not None)
        out, state = self.core(batch.x, state)
        return self.head(out), state

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return (output - batch.y).square().mean()

    def initial_state(self) -> Tensor:
        return torch.zeros(1, 1, 4)

    def step(self, inputs: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        out, state = self.core(inputs.view(1, 1, 1), state)
        return self.head(out)[0, 0], state

    def predict(self, batch: Batch) -> Tensor:
        return self(batch)[0]


class Course(Words):
    """Sequences of numbers (B, T)."""

    def fit(self, train: Any, valid: Any = None) -> Self:
        return self

    def decode(self, predictions: Sequence[Tensor], records: Any) -> Any:
        return torch.cat(list(predictions), 1)

    def state(self) -> Any:
        return None


@dataclass(eq=False, repr=False, kw_only=True)
class Reader(Toy):
    """Learns what began long ago."""

    def codec(self) -> Course:
        return Course()

    def network(self, codec: Any, train: Any) -> Memory:
        return Memory()

    def split(self, records: Tensor) -> tuple[Tensor, Tensor | None]:
        return records, records

    def batches(self, codec: Any, records: Tensor, *, train: bool) -> Any:
        return BPTTChunks(records, records[:, :1].expand_as(records), chunk_length=5)


def test_a_state_is_carried_over_the_batches_of_an_epoch() -> None:
    torch.manual_seed(0)
    source = torch.zeros(8, 15, 1)
    source[:4, 0], source[4:, 0] = 1.0, -1.0
    task = Reader(epochs=60, learning_rate=0.02, patience=None).fit(source, verbose=0)
    assert task.network_.states == [False, True, True] * 60
    assert task.history_.history["val_loss"][-1] < 0.05, "which it can be only by what is carried"
    network, state = task.network_, task.network_.initial_state()
    with torch.no_grad():
        for value in source[0, :-1]:
            _, state = network.step(value, state)
        output, _ = network.step(source[0, -1], state)
    assert abs(float(output) - 1.0) < 0.3
