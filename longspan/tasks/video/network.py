"""The networks of a video classifier: frames, maps, skeletons or features to steps, and steps to answers."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from longspan.data.batches import Batch
from longspan.data.labels import IGNORED
from longspan.data.padding import sequence_mask
from longspan.networks.encoder import Encoder
from longspan.networks.frames import FrameGrid, FrameNet, of_real_frames
from longspan.networks.pooling import Pool, max_over_time
from longspan.nn.conv_lstm import ConvLSTM
from longspan.nn.dropout import Dropout
from longspan.nn.linear import Linear
from longspan.tasks.network import TaskNetwork
from longspan.training.objective import LossTerm

from .box_loss import box_loss, place_loss, presence_loss
from .skeletons import SkeletonFeatures

ANSWERS = ("clip", "frames", "boxes")
NETWORKS = ("lstm", "convlstm")
BOX = 5  # values of a box: presence, centre x and y, width and height as shares of the frame
_CONV_GRID = 16  # cells a side, about, over which a convolutional LSTM runs
_CONV_FILTERS = (16, 32)  # channels of the convolutions before it at most


class Sizes(NamedTuple):
    """What the network depends on.

    kind: "frames", "skeleton" or "features", what a clip is; answers: one of ANSWERS; classes: K.
    channels, size: of frames (C, and H, W); joints, axes, bones: of skeletons; features: values a frame.
    """

    kind: str
    answers: str
    classes: int
    channels: int = 1
    size: tuple[int, int] = (64, 64)
    joints: int = 0
    axes: int = 0
    bones: tuple[tuple[int, int], ...] = ()
    features: int = 0


class Steps(nn.Module, abc.ABC):
    """Reads clips and gives one vector a frame. Abstract.

    Attributes:
        output_size: W.
    """

    output_size: int

    @abc.abstractmethod
    def forward(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        """Vectors (B, T, W) of clips (B, T, ...), and the state after their last frames."""


class EncodedSteps(Steps):
    """A recurrent network over the features of each frame (LRCN, Donahue et al. 2015, arXiv 1411.4389).

    Args:
        features: clips (B, T, ...), lengths and a state -> features (B, T, F) and the state after them.
        size: F.
        encoder: makes the recurrent network for a number of inputs.
        skip: whether the features stand beside the recurrent network's outputs, so that what each frame shows
            is learned without it.
    """

    def __init__(
        self, features: nn.Module, size: int, encoder: Callable[[int], Encoder], *, skip: bool = False
    ) -> None:
        super().__init__()
        self.features, self.skip = features, skip
        self.encoder = encoder(size)
        self.output_size = self.encoder.output_size + (size if skip else 0)

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        before, recurrent = (None, None) if state is None else state
        features, after = self.features(x, lengths, before)
        out, recurrent = self.encoder(features, recurrent, lengths=lengths)
        return torch.cat([out, features], 2) if self.skip else out, (after, recurrent)


class FrameSteps(nn.Module):
    """Frames (B, T, C, H, W) as features by a frame net."""

    def __init__(self, network: FrameNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, lengths: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        return of_real_frames(self.network, x, lengths), None


class SkeletonSteps(nn.Module):
    """Joints (B, T, J, D) as features of bones and speeds, projected."""

    def __init__(self, features: SkeletonFeatures, size: int, dropout: float) -> None:
        super().__init__()
        self.features = features
        self.linear = Linear(features.output_size, size)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        features, state = self.features(x, state)
        return self.drop(self.linear(features).relu()), state


class FeatureSteps(nn.Module):
    """The user's features of frames (B, T, F), normalized and projected."""

    def __init__(self, inputs: int, size: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.linear = Linear(inputs, size)
        self.drop = Dropout(dropout)

    def forward(self, x: Tensor, lengths: Tensor | None, state: Any) -> tuple[Tensor, Any]:
        return self.drop(self.linear(self.norm(x)).relu()), None


class ConvLSTMSteps(Steps):
    """Convolutions of each frame, a convolutional LSTM over their maps, and both poolings of its places.

    Shi et al. 2015, arXiv 1506.04214.

    Args:
        channels, size: of the frames; hidden_size: channels of the convolutional LSTM; dropout.
    """

    def __init__(self, channels: int, size: tuple[int, int], hidden_size: int, dropout: float) -> None:
        super().__init__()
        stages = max(1, (max(size) // _CONV_GRID).bit_length() - 1)
        filters = [_CONV_FILTERS[min(stage, 1)] for stage in range(stages)]
        self.grid = FrameGrid(channels, size, filters)
        self.convlstm = ConvLSTM(self.grid.output_size, hidden_size, (3, 3))
        self.drop = Dropout(dropout)
        self.output_size = 2 * hidden_size

    def forward(self, x: Tensor, lengths: Tensor | None = None, state: Any = None) -> tuple[Tensor, Any]:
        maps = of_real_frames(self.grid.maps, x, lengths)
        mask = None if lengths is None else sequence_mask(lengths, x.shape[1], device=x.device)
        out, state = self.convlstm(maps, state, mask=mask)
        return self.drop(torch.cat([out.mean((3, 4)), out.amax((3, 4))], 2)), state


class Member(nn.Module):
    """One network of the ensemble: steps, and scores of clips, of frames, or boxes.

    Args:
        steps: gives the vectors a frame; answers: one of ANSWERS; classes: K; pooling; dropout.
    """

    def __init__(self, steps: Steps, answers: str, classes: int, pooling: str, dropout: float) -> None:
        super().__init__()
        self.steps, self.answers, self.classes = steps, answers, classes
        self.pool = Pool(pooling, steps.output_size) if answers == "clip" else None
        self.drop = Dropout(dropout)
        self.output = Linear(steps.output_size, classes * (BOX if answers == "boxes" else 1))

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (B, K), or of each frame (B, T, K), or boxes (B, T, K, 5) as logits."""
        steps, _ = self.steps(x, lengths)
        return self.scores(steps if self.pool is None else self.pool(steps, lengths))

    def scores(self, vectors: Tensor) -> Tensor:
        """Scores of vectors (..., W) of clips or frames."""
        scores = self.output(self.drop(vectors))
        return scores.unflatten(-1, (self.classes, BOX)) if self.answers == "boxes" else scores


class VideoNetwork(TaskNetwork):
    """Several networks that are trained side by side, and the mean of their probabilities.

    Args:
        members: the networks; label_smoothing: of the cross entropy, in training.
    """

    def __init__(self, members: Sequence[Member], label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.answers, self.label_smoothing = members[0].answers, label_smoothing

    def forward(self, batch: Batch, state: Any = None) -> tuple[Tensor, None]:
        """The scores of each member (M, B, ...)."""
        return torch.stack([member(batch.x, batch.lengths) for member in self.members]), None

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """The mean over the members of the cross entropy, or of the loss of boxes."""
        if self.answers == "boxes":
            real = self._real_frames(output, batch)
            return torch.stack([box_loss(scores[real], batch.y[real]) for scores in output]).mean()
        return self._cross_entropy(output, batch)

    def loss_terms(self, output: Tensor, batch: Batch) -> list[LossTerm]:
        if self.answers != "boxes":
            return [LossTerm(self._cross_entropy(output, batch), (batch.y != IGNORED).sum())]
        real = self._real_frames(output, batch)
        truth = batch.y[real]
        there = (truth[..., 0] > 0).sum()
        presence = torch.stack([presence_loss(scores[real], truth) for scores in output]).mean()
        places = torch.stack([place_loss(scores[real], truth) for scores in output]).mean()
        return [LossTerm(presence, truth[..., 0].numel()), LossTerm(places, there)]

    def _cross_entropy(self, output: Tensor, batch: Batch) -> Tensor:
        smoothing = self.label_smoothing if self.training else 0.0
        targets = batch.y.flatten().repeat(len(output))
        return F.cross_entropy(
            output.flatten(0, -2), targets, ignore_index=IGNORED, label_smoothing=smoothing
        )

    def _real_frames(self, output: Tensor, batch: Batch) -> Tensor:
        """(B, T) bool, False at padding."""
        steps = batch.x.shape[1]
        lengths = torch.full((len(batch.x),), steps) if batch.lengths is None else batch.lengths
        return sequence_mask(lengths, steps, device=output.device)

    def predict(self, batch: Batch) -> Any:
        """Logarithms of probabilities (B, K), or a list of (T_i, K), or of boxes (T_i, K, 5) from 0 to 1."""
        scores, _ = self(batch)
        answers = self.combined(scores)
        if self.answers == "clip":
            return answers.cpu()
        lengths = [batch.x.shape[1]] * len(batch.x) if batch.lengths is None else batch.lengths.tolist()
        return [row[:length].cpu() for row, length in zip(answers, lengths, strict=True)]

    @property
    def networks(self) -> list[Member]:
        """The members with their type."""
        return [module for module in self.members if isinstance(module, Member)]

    def combined(self, scores: Tensor) -> Tensor:
        """The members' scores (M, ...) as one answer."""
        if self.answers == "boxes":
            return scores.sigmoid().mean(0)
        return scores.softmax(-1).mean(0).clamp_min(1e-12).log()


class PoolState(NamedTuple):
    """What a pooling has seen: value (1, W) a sum, a maximum or the last; weight (1, 1) of the sum."""

    value: Tensor
    weight: Tensor


def pooled_step(pool: Pool, vector: Tensor, state: PoolState | None) -> tuple[Tensor, PoolState]:
    """The pooled vector (1, W) after one more frame's vector (1, W)."""
    if pool.kind in ("last", "max"):
        value = vector if state is None or pool.kind == "last" else torch.maximum(vector, state.value)
        return value, PoolState(value, vector.new_ones(1, 1))
    weight = pool.query(pool.key(vector).tanh()).exp() if pool.kind == "attention" else vector.new_ones(1, 1)
    value, total = (weight * vector, weight) if state is None else (
        state.value + weight * vector, state.weight + weight)  # fmt: skip
    return value / total, PoolState(value, total)


def attribution(network: VideoNetwork, batch: Batch, classes: Tensor) -> Tensor:
    """How much each value of the input spoke for a class: the gradient of its score times the input.

    Args:
        batch: of clips; classes: (B,) numbers, for answers a frame or boxes those whose largest score counts.

    Returns:
        Of the shape of batch.x.
    """
    x = batch.x.detach().requires_grad_()
    with torch.enable_grad():
        scores = torch.stack([member(x, batch.lengths) for member in network.members]).mean(0)
        if network.answers == "boxes":
            scores = scores[..., 0]
        if network.answers != "clip":
            scores = max_over_time(scores, batch.lengths)
        total = scores.gather(1, classes.unsqueeze(1)).sum()
    return (torch.autograd.grad(total, x)[0] * x).detach()
