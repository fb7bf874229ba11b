"""Hears a sound as it comes: chunks of samples in, the text so far out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from longspan.optional import require
from longspan.tasks.codec import Tree

from .codec import SpeechCodec
from .features import LogMel
from .network import SpeechNetwork, StreamState
from .searcher import Search, TextStream
from .sound_files import array_sound


class SpeechStream:
    """The text of one sound that comes in chunks; in the end equal to that of the whole sound.

    Args:
        codec, network: of a fitted recognizer whose network hears in one direction.
        rate: samples a second of the chunks.
        search: the options of the search.

    Attributes:
        text: of what was heard so far.
        has_state: whether `state` holds all; not where chunks are resampled, by a library that keeps its own.
    """

    def __init__(self, codec: SpeechCodec, network: SpeechNetwork, rate: int, search: Search) -> None:
        self._codec, self._network = codec, network
        self._device = next(network.parameters()).device
        self._resampler: Any = None
        if rate != codec.rate:
            soxr = require("soxr", "speech", "resampling")
            self._resampler = soxr.ResampleStream(rate, codec.rate, 1, dtype="float32")
        self._features = LogMel(codec.rate, codec.bins).stream()
        self._state = network.initial_state()
        self._texts = TextStream(codec.searcher, search, codec.tokens)
        self.text, self.has_state = "", self._resampler is None

    def state(self) -> Tree:
        """Plain values and tensors, only where `has_state`."""
        return {
            "features": self._features.state(),
            "inputs": self._state.inputs,
            "recurrent": self._state.recurrent,
            "texts": self._texts.state(),
            "text": self.text,
        }

    def restore(self, state: Tree) -> None:
        """Take what `state` returned, in a stream of the same options that has heard nothing."""
        self._features.restore(state["features"])
        self._state = StreamState(state["inputs"], state["recurrent"])
        self._texts.restore(state["texts"])
        self.text = state["text"]

    def step(self, chunk: Any) -> str:
        """The text so far, after more samples.

        Args:
            chunk: (N,) or (N, channels), floats in [-1, 1] or integers; N may be 0.

        Raises:
            ValueError, TypeError: it is no array of samples; one sentence.
        """
        return self._heard(array_sound(chunk, "chunk") if len(chunk) else np.zeros(0, np.float32))

    def finish(self) -> str:
        """The text of the whole sound; samples that the resampler still holds are heard too."""
        return self._heard(np.zeros(0, np.float32), last=True)

    def _heard(self, sound: np.ndarray, *, last: bool = False) -> str:
        if self._resampler is not None:
            sound = self._resampler.resample_chunk(sound, last=last)
        features = self._codec.normalizer(self._features.read(sound))
        if len(features):
            with torch.no_grad():
                log_probs, self._state = self._network.step(features[None].to(self._device), self._state)
            if len(log_probs):
                self.text = self._texts.read(log_probs.cpu())
        return self.text
