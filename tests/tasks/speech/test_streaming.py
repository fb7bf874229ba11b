"""The text of a stream is in the end that of the whole sound, whatever the chunks, search and rate."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from longspan import SpeechRecognizer
from longspan.artifact import flatten, unflatten

Melodies = Callable[..., tuple[list[np.ndarray], list[str]]]


def chunks(sound: np.ndarray, seed: int) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    return np.split(sound, np.sort(draw.integers(0, len(sound), 9)))


@pytest.mark.parametrize("name", ["words", "commands"])
@pytest.mark.parametrize("rate", [8000, 11_025])
def test_a_stream_ends_with_the_text_of_the_whole(
    name: str, rate: int, melodies: Melodies, request: pytest.FixtureRequest
) -> None:
    task: SpeechRecognizer = request.getfixturevalue(name)
    sounds, _ = melodies(8, 11, 3 if name == "words" else 1)
    whole = task.predict(sounds, rate=rate)
    assert len(set(whole)) > 1 or rate != 8000
    for seed, (sound, text) in enumerate(zip(sounds, whole, strict=True)):
        stream = task.stream(rate)
        for chunk in chunks(sound, seed):
            assert stream.step(chunk) == stream.text
        assert stream.finish() == text


def test_a_greedy_stream_and_partial_texts(melodies: Melodies, options: dict[str, Any]) -> None:
    sounds, texts = melodies(120, 0)
    task = SpeechRecognizer(**options, bidirectional=False).fit(sounds, texts, rate=8000, verbose=0)
    asked = np.concatenate(melodies(6, 12)[0])
    stream, partial = task.stream(), []
    for chunk in np.split(asked, range(500, len(asked), 500)):
        partial.append(stream.step((chunk * 32767).astype(np.int16)))
        saved, stream = stream.state(), task.stream()
        stream.restore(unflatten(*flatten(saved)))
    assert all(later.startswith(earlier) for earlier, later in pairwise(partial))
    assert len(set(partial)) > 5 and partial[-1] == task.predict((asked * 32767).astype(np.int16))[0]
    assert stream.step(np.zeros(0)) == partial[-1]
    with pytest.raises(ValueError, match=r"chunk: expected floats in \[-1, 1\]"):
        stream.step(asked * 30_000)


@pytest.mark.parametrize("name", ["words", "commands"])
def test_a_saved_stream_goes_on_bit_by_bit(
    name: str, melodies: Melodies, request: pytest.FixtureRequest
) -> None:
    task: SpeechRecognizer = request.getfixturevalue(name)
    for seed, sound in enumerate(melodies(3, 11, 1 if name == "commands" else 3)[0]):
        stream, other, parts = task.stream(), task.stream(), chunks(sound, seed)
        for at, chunk in enumerate(parts):
            stream.step(chunk)
            if at in (0, len(parts) // 2):
                other = task.stream()
                other.restore(unflatten(*flatten(stream.state())))
                for later in parts[at + 1 :]:
                    other.step(later)
        assert other.text == stream.text == task.predict([sound], rate=8000)[0]
        (tree, tensors), (other_tree, other_tensors) = flatten(stream.state()), flatten(other.state())
        assert tree == other_tree and tensors.keys() == other_tensors.keys()
        assert all(torch.equal(tensor, other_tensors[place]) for place, tensor in tensors.items())
    assert not task.stream(16_000).has_state, "a resampler keeps its own state"
