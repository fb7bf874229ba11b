"""Gives the colours of figures by their role; the page, light or dark, decides what each role looks like."""

from __future__ import annotations

import re

import numpy as np

# role -> a colour no one else uses, which stands in the drawing until the page's own takes its place
_STAND_INS = {
    "ink": "#0a0b01",
    "quiet": "#0a0b02",
    "rule": "#0a0b03",
    "paper": "#0a0b04",
    "alarm": "#0a0b05",
    **{f"hue{i}": f"#0a0b1{i}" for i in range(1, 7)},
}
_ROLES = {colour: role for role, colour in _STAND_INS.items()}
_STAND_IN = re.compile("|".join(_ROLES))
HUES = ("hue1", "hue2", "hue3", "hue4", "hue5", "hue6")
# The two ends of a coloured grid, legible on light and on dark paper (blue and orange of Okabe and Ito's
# colour-blind-safe palette, 2008); what lies at zero is clear.
_HIGH, _LOW = (0, 114, 178), (213, 94, 0)


def role_color(role: str) -> str:
    """The stand-in for a role's colour."""
    return _STAND_INS[role]


def with_page_colors(svg: str) -> str:
    """The drawing with the page's colours in the place of the stand-ins."""
    return _STAND_IN.sub(lambda match: f"var(--{_ROLES[match.group()]})", svg)


def cell_colors(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values (R, C) as colours (R, C, 4), bytes: clear where they say nothing, full at the ends.

    With low < 0 < high, zero is clear and the sides have a colour each; otherwise low is clear.
    """
    two_sided = low < 0 < high
    reach = max(-low, high) if two_sided else (high - low) or 1.0
    share = np.nan_to_num((values if two_sided else values - low) / reach)
    colours = np.where((share < 0)[..., None], _LOW, _HIGH)
    alpha = np.clip(np.abs(share), 0, 1)[..., None] * 255
    return np.concatenate((colours, alpha), -1).round().astype(np.uint8)
