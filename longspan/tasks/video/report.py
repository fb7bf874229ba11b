"""The sections of a video classifier's report: scores, confusion, frames with what mattered, boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from longspan.data.batches import Batch
from longspan.data.frames import even_rows
from longspan.metrics.classification import calibration_curve
from longspan.report.elements import (
    Element,
    HeatMap,
    Line,
    LineChart,
    Picture,
    Pictures,
    Section,
    Stat,
    Stats,
    Table,
    tabs,
)
from longspan.tasks.sections import held_out_sections

from .batches import VideoBatches
from .clips import Clip, Segment
from .codec import VideoCodec
from .network import VideoNetwork, attribution
from .scores import frame_accuracy, mean_iou
from .targets import BoxAnswer, FrameAnswer, boxes_of, segments_of

_CLIPS = 4  # clips that are shown
_FRAMES = 6  # frames of a clip that are shown
_CELLS = 8  # cells a side that what mattered is summed over
_CONFUSIONS = 30  # classes up to which there is a matrix
_ANSWERED = 20  # clips that are listed
_WORST, _PICTURED = 10, 2  # clips with the worst answers that are listed, and shown
_SEGMENTS = 6  # segments of a clip that are listed
_PERCENT = ("top1", "top5", "accuracy", "presence_f1", "iou", "f1@10", "f1@25", "f1@50")


class Evaluated(NamedTuple):
    """Clips with their answers; scores: metrics by name, {} where a target is not known."""

    network: VideoNetwork
    records: Sequence[Clip]
    answers: Any
    scores: Mapping[str, float]


def video_sections(codec: VideoCodec, evaluated: Evaluated | None) -> list[Section]:
    """The task's sections; evaluated: on a source; None for what was held out in training."""
    held_out: Mapping[str, Any] = codec.held_out.get("scores", {})
    scores = held_out if evaluated is None else evaluated.scores
    sections = [Section("Summary", [_facts(codec, scores)])]
    if evaluated is None:
        names = {"top1": "top 1", "top5": "top 5", "log_loss": "log loss"}
        return [*sections, *held_out_sections(codec.held_out, names, "class shares", low=("log_loss",))]
    if evaluated.scores and codec.answers == "clip":
        sections.append(Section("Confusion", _confusion(codec, evaluated)))
    sections.append(Section("Clips", _clips(codec, evaluated)))
    if evaluated.scores:
        sections.append(Section("Worst cases", _worst(codec, evaluated)))
    return sections


def _facts(codec: VideoCodec, scores: Mapping[str, float]) -> Stats:
    stats = [Stat(name, f"{100 * value:.4g} %" if name in _PERCENT else f"{value:.4g}")
             for name, value in scores.items()]  # fmt: skip
    form = codec.loader.form
    read = {
        "skeleton": f"{codec.joints} joints",
        "frames": f"{form.width} × {form.height} pixels",
        "features": f"{codec.width} features",
    }[codec.kind]
    return Stats("Video", [*stats, Stat("classes", str(len(codec.labels.classes))), Stat("a frame", read)])


def _confusion(codec: VideoCodec, evaluated: Evaluated) -> list[Element]:
    truth, answers = codec.truth(list(evaluated.records)), evaluated.answers
    names = [str(name) for name in codec.labels.classes]
    bins = calibration_curve(answers, truth)
    reliability = LineChart(
        "Reliability",
        "confidence",
        "share right",
        [
            Line("answers", [entry[0] for entry in bins], [entry[1] for entry in bins]),
            Line("perfect", [0.0, 1.0], [0.0, 1.0], "dash"),
        ],
        note="Ten bins by confidence.",
    )
    counts = np.zeros((len(names), len(names)), dtype=int)
    np.add.at(counts, (truth, answers.argmax(1)), 1)
    if len(names) <= _CONFUSIONS:
        matrix = HeatMap(
            "Confusion matrix", "answered", "true", names, counts.tolist(), y=names, figures=True
        )
        return [matrix, reliability]
    np.fill_diagonal(counts, 0)
    worst = np.argsort(-counts, axis=None, kind="stable")[:_ANSWERED]
    pairs = [divmod(int(place), len(names)) for place in worst]
    rows = [[names[a], names[b], int(counts[a, b])] for a, b in pairs if counts[a, b]]
    return [Table("Most frequent confusions", ["true", "answered", "times"], rows), reliability]


def _clips(codec: VideoCodec, evaluated: Evaluated) -> list[Element]:
    shown = range(min(_CLIPS, len(evaluated.records)))
    pictures = {_name(evaluated.records[row], row): _clip(codec, evaluated, row) for row in shown}
    several = len(pictures) > 1
    first = [tabs("Clips", pictures)] if several else [e for part in pictures.values() for e in part]
    return [*first, *_answered(codec, evaluated)]


def _name(clip: Clip, row: int) -> str:
    return Path(clip.file).name if clip.file else f"clip {row}"


def _answered(codec: VideoCodec, evaluated: Evaluated) -> list[Element]:
    table = codec.as_table(evaluated.answers, list(evaluated.records))
    note = f"The first {_ANSWERED} of {len(table):,}." if len(table) > _ANSWERED else ""
    return [Table("Answers", table.columns, [list(row) for row in table.head(_ANSWERED).rows()], note)]


def _worst(codec: VideoCodec, evaluated: Evaluated) -> list[Element]:
    """The clips with the lowest scores by themselves, beside their truths; what was seen in the first."""
    truths = codec.truth(list(evaluated.records))
    name, scores = _clip_scores(codec, evaluated.answers, truths)
    words = [_true_and_answered(codec, *pair) for pair in zip(truths, evaluated.answers, strict=True)]
    wrong = [
        row
        for row, score in enumerate(scores)
        if score < 1.0 and (codec.answers != "clip" or words[row][0] != words[row][1])
    ]
    order = sorted(wrong, key=scores.__getitem__)[:_WORST]
    rows = [[_name(evaluated.records[row], row), *words[row], scores[row]] for row in order]
    note = f"{len(wrong):,} of {len(scores):,} answers have an error."
    table: Element = Table("Lowest scores", ["clip", "truth", "answer", name], rows, note)
    pictured = {
        f"{row}: {_name(evaluated.records[row], row)}": _clip(codec, evaluated, row)
        for row in order[:_PICTURED]
    }
    return [table, tabs("The lowest ones", pictured)] if len(pictured) > 1 else [table]


def _clip_scores(codec: VideoCodec, answers: Any, truths: Any) -> tuple[str, list[float]]:
    """The name of a score and its value for each clip by itself."""
    if codec.answers == "clip":
        return "probability of the truth", answers[np.arange(len(truths)), truths].tolist()
    name, score = ("accuracy", frame_accuracy) if codec.answers == "frames" else ("iou", mean_iou)
    return name, [score([answer], [true]) for answer, true in zip(answers, truths, strict=True)]


def _true_and_answered(codec: VideoCodec, true: Any, answer: Any) -> list[str]:
    """The truth and the answer of one clip in words."""
    classes = codec.labels.classes
    if codec.answers == "clip":
        return [str(classes[int(true)]), str(classes[int(answer.argmax())])]
    if codec.answers == "frames":
        numbers = (true, answer.probabilities.argmax(1))
        return [_in_words(segments_of(each, classes, answer.rate)) for each in numbers]
    return [f"{int((true[..., 0] > 0).sum())} boxes", f"{len(boxes_of(answer, classes))} boxes"]


def _in_words(segments: Sequence[Segment]) -> str:
    words = [f"{segment.label} {segment.start:g} to {segment.end:g}" for segment in segments[:_SEGMENTS]]
    return ", ".join(words) + (" …" if len(segments) > _SEGMENTS else "")


def _clip(codec: VideoCodec, evaluated: Evaluated, row: int) -> list[Any]:
    """Frames of a clip with what mattered, or with its boxes; the classes over time."""
    clip, answer = evaluated.records[row], evaluated.answers[row]
    batch = next(iter(VideoBatches(codec, [clip], 1)))
    if codec.answers == "boxes":
        return [_boxes(codec, clip, answer)]
    elements: list[Any] = []
    if codec.answers == "frames":
        elements.append(_over_time(codec, answer))
    number = int(np.argmax(answer if codec.answers == "clip" else answer.probabilities.mean(0)))
    weights = _weights(evaluated.network, batch, number)
    title = f"What spoke for {codec.labels.classes[number]}"
    if codec.kind == "frames":
        return [*elements, _frames(codec, clip, weights, title)]
    sums = weights.flatten(1).sum(1)
    line = Line("weight", list(range(len(sums))), (sums / sums.abs().max().clamp_min(1e-12)).tolist())
    elements.append(LineChart(title, "frame", "weight", [line], note=_NOTE))
    return [*elements, _joints(weights)] if codec.kind == "skeleton" else elements


_NOTE = "Gradient of the answer's score times the input, summed; below 0 it spoke against the answer."


def _weights(network: VideoNetwork, batch: Batch, number: int) -> Tensor:
    """What mattered (T, ...) in a batch of one clip."""
    device = next(network.parameters()).device
    moved = Batch(batch.x.to(device), None, lengths=batch.lengths)
    return attribution(network, moved, torch.tensor([number], device=device))[0].cpu()


def _joints(weights: Tensor) -> HeatMap:
    """The weights (T, J, D) of each joint in each frame."""
    values = weights.sum(2).T
    names = [str(joint) for joint in range(len(values))]
    return HeatMap("Joints that mattered", "frame", "joint", list(range(values.shape[1])), values.tolist(),
                   y=names, note=_NOTE)  # fmt: skip


def _frames(codec: VideoCodec, clip: Clip, weights: Tensor, title: str) -> Pictures:
    """Frames with the absolute weights (T, C, H, W) of their cells laid over them."""
    pixels = codec.loader(clip)
    cells = torch.nn.functional.adaptive_avg_pool2d(weights.abs().sum(1, keepdim=True), _CELLS)[:, 0]
    rows = even_rows(len(pixels), _FRAMES)
    pictures = [Picture(_pixels(pixels[row]), f"frame {row}", cells[row].numpy()) for row in rows]
    note = "The darker a cell, the less its pixels mattered: the gradient of the score times the input."
    return Pictures(title, pictures, note)


def _pixels(frame: Tensor) -> np.ndarray:
    """A frame (C, H, W) as a picture (H, W, 3)."""
    return frame.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def _boxes(codec: VideoCodec, clip: Clip, answer: BoxAnswer) -> Pictures:
    """Frames with the boxes that were found in them."""
    pixels = codec.loader(clip)
    height, width = answer.size
    found: dict[int, list[tuple[str, float, float, float, float]]] = {}
    for box, _ in boxes_of(answer, codec.labels.classes):
        place = (box.x / width, box.y / height, box.width / width, box.height / height)
        found.setdefault(box.frame, []).append((str(box.label), *place))
    rows = even_rows(len(pixels), _FRAMES)
    pictures = [Picture(_pixels(pixels[row]), f"frame {row}", boxes=found.get(row, ())) for row in rows]
    return Pictures("Boxes", pictures)


def _over_time(codec: VideoCodec, answer: FrameAnswer) -> HeatMap:
    """The probabilities of the classes over the frames."""
    names = [str(name) for name in codec.labels.classes]
    x = [round(frame / answer.rate, 2) for frame in range(len(answer.probabilities))]
    unit = "frame" if answer.rate == 1.0 else "seconds"
    return HeatMap("Classes over time", unit, "class", x, answer.probabilities.T.tolist(), low=0.0, high=1.0,
                   y=names)  # fmt: skip
