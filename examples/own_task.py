"""A task of your own: a tagger of words, from lines such as "the/DET dog/NOUN barks/VERB".

It overrides the four methods that a task must override, and inherits fit, predict, evaluate, tune, save and
reports. Run it: `python examples/own_task.py`. A task of the library is the same in a folder of
`longspan/tasks`. `longspan.load` finds the class of a saved task in `longspan.tasks.TASKS`; add a line there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from longspan.data import Batch, Batches
from longspan.networks import Encoder
from longspan.tasks.codec import Codec, Metrics
from longspan.tasks.estimator import Estimator
from longspan.tasks.network import TaskNetwork

Sentences = list[list[tuple[str, str]]]  # words with their tags, "" where the tag is not known


class TagCodec(Codec[Sentences]):
    """Numbers words and tags. 0 is padding, as `Batches` pads with 0, and an unknown word or tag too."""

    def fit(self, train: Sentences, valid: Sentences | None = None) -> TagCodec:
        self.words = ["<unknown>", *sorted({word for sentence in train for word, _ in sentence})]
        self.tags = ["", *sorted({tag for sentence in train for _, tag in sentence})]  # 0: padding, not known
        return self

    def decode(self, predictions: list[Tensor], records: Sentences) -> list[list[str]]:
        rows = [row for batch in predictions for row in batch.tolist()]  # in the order of the records
        pairs = zip(rows, records, strict=True)
        return [[self.tags[n] for n in row[: len(sentence)]] for row, sentence in pairs]

    def truth(self, records: Sentences) -> list[list[str]]:
        return [[tag for _, tag in sentence] for sentence in records]

    def metrics(self) -> Metrics:
        return {
            "accuracy": lambda answers, truth: float(sum(map(_right, answers, truth)) / sum(map(len, truth)))
        }

    def state(self) -> Any:
        return {"words": self.words, "tags": self.tags}

    def restore(self, state: Any) -> TagCodec:
        self.words, self.tags = state["words"], state["tags"]
        return self


class TagNetwork(TaskNetwork):
    """Scores (B, T, tags) of every word by a bidirectional encoder."""

    def __init__(self, words: int, tags: int, hidden_size: int, cell: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, hidden_size)
        self.encoder = Encoder(hidden_size, hidden_size, cell=cell, bidirectional=True, pool="steps")
        self.linear = nn.Linear(self.encoder.output_size, tags)

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, Any]:
        out, state = self.encoder(self.embedding(batch.x), lengths=batch.lengths)
        return self.linear(out), state  # (B, T, tags)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        return nn.functional.cross_entropy(output.transpose(1, 2), batch.y, ignore_index=0)

    def predict(self, batch: Batch) -> Tensor:
        return self(batch)[0][..., 1:].argmax(-1) + 1


@dataclass(eq=False, repr=False, kw_only=True)
class Tagger(Estimator[Sentences, TagCodec, TagNetwork, Any]):
    """Tags every word of a sentence. A further option is a field made by `longspan.tasks.options.option`."""

    name: ClassVar[str] = "tag"
    score_metric: ClassVar[str] = "accuracy"  # what `score` returns

    def read(self, source: Any, y: Any = None, *, use: str = "fit", fitted: Any = None) -> Sentences:
        pairs = [[word.partition("/") for word in line.split()] for line in source]
        return [[(word, tag) for word, _, tag in sentence] for sentence in pairs]

    def codec(self) -> TagCodec:
        return TagCodec()

    def network(self, codec: TagCodec, train: Sentences | None) -> TagNetwork:
        return TagNetwork(len(codec.words), len(codec.tags), self.hidden_size, self.cell)

    def batches(self, codec: TagCodec, records: Sentences, *, train: bool) -> Batches:
        word, tag = ({name: n for n, name in enumerate(names)} for names in (codec.words, codec.tags))
        x = [[word.get(w, 0) for w, _ in sentence] for sentence in records]
        y = [[tag.get(t, 0) for _, t in sentence] for sentence in records]
        return Batches(x, y, batch_size=self.batch_size, shuffle=train)


def _right(answers: list[str], truth: list[str]) -> int:
    return sum(map(str.__eq__, answers, truth))


if __name__ == "__main__":
    lines = ["the/DET dog/NOUN barks/VERB", "a/DET cat/NOUN sleeps/VERB", "dogs/NOUN bark/VERB"] * 20
    tagger = Tagger(epochs=30, validation_fraction=0.0, learning_rate=0.01).fit(lines, verbose=0)
    print(tagger.predict(["the cat barks"]), tagger.evaluate(lines))
