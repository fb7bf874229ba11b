"""Describes tasks to scikit-learn's tools by the tags that they ask estimators for."""

from __future__ import annotations

from typing import Any


def tags_of(estimator_type: str | None, *, needs_y: bool) -> Any:
    """The `sklearn.utils.Tags` of a task; only scikit-learn calls this, so it is installed.

    Args:
        estimator_type: "classifier", or None for a task that scikit-learn has no type for.
        needs_y: whether `fit` and `score` need y if the source is an array.
    """
    from sklearn.utils import ClassifierTags, InputTags, Tags, TargetTags  # an optional dependency

    is_classifier = estimator_type == "classifier"
    inputs = InputTags(two_d_array=True, three_d_array=is_classifier, string=is_classifier, allow_nan=True)
    return Tags(
        estimator_type=estimator_type,
        target_tags=TargetTags(required=needs_y, one_d_labels=needs_y),
        classifier_tags=ClassifierTags(multi_label=True) if is_classifier else None,
        no_validation=True,
        input_tags=inputs,
    )
