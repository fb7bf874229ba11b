"""Explains answers: the words that mattered for a class, the attention of a translation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from longspan import errors
from longspan.tasks.classify import Classifier
from longspan.tasks.pair_task import PairTask

from . import bodies
from .limits import Limits, refused
from .models import ServedModel

_MOST = 20  # records that are explained at once


def explainer(model: Any) -> Callable[[Any], list[dict[str, Any]]] | None:
    """What explains a model's answers to a source, a record each; None for a model that nothing explains."""
    if isinstance(model, Classifier):
        return None if model.fitted_.codec.labels.kind == "token" else lambda source: _words(model, source)
    return (lambda source: _attention(model, source)) if isinstance(model, PairTask) else None


def explain(served: ServedModel, content: dict[str, Any], limits: Limits) -> dict[str, Any]:
    """The explanations of a model's answers to a source of JSON.

    Raises:
        Refused: the source is none, or has too many records.
    """
    source = bodies.as_source(content.get("source"), limits)
    if set(content) != {"source"} or source is None:
        received = ", ".join(sorted(content)) or "nothing"
        raise refused(422, "body", "the key source alone", received, 'send {"source": [...]}')
    if len(source) > _MOST:
        raise refused(413, "source", f"at most {_MOST} records", len(source), "send fewer")
    explained = explainer(served.model)
    if explained is None:
        raise refused(404, "model", "a classifier of texts or a translator", served.name, "use predict")
    with served.lock, errors.collect_notices(quiet=True), np.errstate(all="ignore"):
        return {"rows": bodies.plain(explained(source))}


def _words(model: Classifier, source: Any) -> list[dict[str, Any]]:
    answers = model.explain(source)
    return [
        {"tokens": [str(token) for token, _ in row], "weights": [weight for _, weight in row]}
        for row in answers
    ]


def _attention(model: PairTask, source: Any) -> list[dict[str, Any]]:
    return [one._asdict() for one in model.attention_maps(source)]
