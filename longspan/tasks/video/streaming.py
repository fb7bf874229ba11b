"""Answers about a clip as it comes: a frame in, the answer so far out, the state kept."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan import errors
from longspan.data.frames import array_frames
from longspan.tasks.codec import Tree

from .clips import Box
from .codec import VideoCodec
from .network import PoolState, VideoNetwork, pooled_step
from .targets import BoxAnswer, boxes_of


class StreamAnswer(NamedTuple):
    """label: the most probable class of the clip so far, or of this frame; probabilities (K,)."""

    label: Any
    probability: float
    probabilities: np.ndarray


class VideoStream:
    """One clip that comes frame by frame; after its last frame the answer is that of the whole clip.

    Frames are taken as they come: give those that training took, at its `frame_rate`.

    Args:
        codec, network: of a fitted classifier whose network reads in one direction.
    """

    def __init__(self, codec: VideoCodec, network: VideoNetwork) -> None:
        self._codec, self._network = codec, network
        self._device = next(network.parameters()).device
        self._members = network.networks
        self._states: list[Any] = [None] * len(self._members)
        self._pools: list[PoolState | None] = [None] * len(self._members)
        self.frames = 0

    def step(self, frame: Any) -> StreamAnswer | list[tuple[Box, float]]:
        """The answer after one more frame.

        Args:
            frame: (H, W), or (H, W, C) with C 1, 3 or 4, bytes or floats from 0 to 1; joints (J, 2 or 3).

        Returns:
            The class of the clip so far or of this frame, with its probability; for boxes those that are
            likelier there than not, each with its probability.

        Raises:
            ValueError: the frame has another shape, or other joints than in training; one sentence.
        """
        x, size = self._input(frame)
        with torch.no_grad():
            scores = [self._scores(number, x) for number in range(len(self._states))]
            answer = self._network.combined(torch.stack(scores))[0].cpu()
        self.frames += 1
        if self._codec.answers == "boxes":
            boxes = boxes_of(BoxAnswer(answer.unsqueeze(0).numpy(), size), self._codec.labels.classes)
            return [(box._replace(frame=self.frames - 1), share) for box, share in boxes]
        probabilities = self._codec.labels.probabilities(answer)
        best = int(probabilities.argmax())
        return StreamAnswer(self._codec.labels.classes[best], float(probabilities[best]), probabilities)

    def state(self) -> Tree:
        """Plain values and tensors."""
        return {"states": self._states, "pools": self._pools, "frames": self.frames}

    def restore(self, state: Tree) -> None:
        """Take what `state` returned."""
        self._states, self.frames = list(state["states"]), state["frames"]
        self._pools = [None if pool is None else PoolState(*pool) for pool in state["pools"]]

    def _input(self, frame: Any) -> tuple[Tensor, tuple[int, int]]:
        """The frame as the network reads it (1, 1, ...), and its height and width."""
        codec = self._codec
        if codec.kind == "skeleton":
            joints = np.asarray(frame, dtype=np.float32)
            if joints.shape != (codec.joints, codec.axes) or not np.isfinite(joints).all():
                expected = f"finite joints of shape {(codec.joints, codec.axes)}"
                raise errors.value_error("frame", expected, f"shape {joints.shape}", "give those of training")
            return torch.from_numpy(joints)[None, None].to(self._device), (1, 1)
        pixels = array_frames(np.asarray(frame)[np.newaxis], "frame")
        x = codec.loader.form(pixels)
        if codec.loader.features is not None:
            x = codec.loader.features(x).flatten(1)
        return codec.network_input(x)[None].to(self._device), (pixels.shape[1], pixels.shape[2])

    def _scores(self, number: int, x: Tensor) -> Tensor:
        """The scores of one member after the frame, (1, K) or (1, K, 5)."""
        member = self._members[number]
        steps, self._states[number] = member.steps(x, None, self._states[number])
        vector = steps[:, 0]
        if member.pool is not None:
            vector, self._pools[number] = pooled_step(member.pool, vector, self._pools[number])
        return member.scores(vector)
