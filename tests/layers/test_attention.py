"""Attention refuses inputs that are not a query, a value and perhaps a key."""

from __future__ import annotations

from longspan import layers
from tests.layers.helpers import X, check_refusal


def test_a_single_input_is_refused() -> None:
    check_refusal(
        lambda: layers.Attention()([X]), "expected .query, value. or .query, value, key., received 1"
    )
