"""Draws pictures as SVG: the pixels as an inlined PNG, with weights of cells and boxes laid over them."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from html import escape

import numpy as np

from .elements import Picture

_DARKEST = 0.8  # opacity of the shade over a cell without weight
_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def picture_svg(picture: Picture) -> str:
    """The picture as one SVG element, which the page scales.

    >>> svg = picture_svg(Picture(np.zeros((2, 3), np.uint8), "dark", np.eye(2)))
    >>> svg.count("<rect"), 'viewBox="0 0 3 2"' in svg
    (2, True)
    """
    height, width = picture.pixels.shape[:2]
    content = b64encode(png(picture.pixels)).decode()
    parts = [
        f'<image width="{width}" height="{height}" href="data:image/png;base64,{content}"/>',
        *_shades(picture.weights, height, width),
        *(_box(*box, height=height, width=width) for box in picture.boxes),
    ]
    label = escape(picture.heading, quote=True)
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _shades(weights: np.ndarray | None, height: int, width: int) -> list[str]:
    """A dark rectangle for each cell, the more opaque the further its weight is below the largest."""
    if weights is None:
        return []
    rows, columns = weights.shape
    high, wide = height / rows, width / columns
    opacity = _DARKEST * (1 - np.clip(weights / max(float(weights.max()), 1e-12), 0, 1))
    return [
        f'<rect x="{column * wide:.2f}" y="{row * high:.2f}" width="{wide:.2f}" height="{high:.2f}" '
        f'fill-opacity="{opacity[row, column]:.2f}"/>'
        for row in range(rows)
        for column in range(columns)
        if opacity[row, column] >= 0.005
    ]


def _box(name: str, x: float, y: float, w: float, h: float, *, height: int, width: int) -> str:
    line, text = max(width, height) / 100, max(width, height) / 12
    left, top = x * width, y * height
    return (
        f'<rect x="{left:.2f}" y="{top:.2f}" width="{w * width:.2f}" height="{h * height:.2f}" '
        f'fill="none" stroke="#ffd400" stroke-width="{line:.2f}"/>'
        f'<text x="{left:.2f}" y="{max(text, top - line):.2f}" font-size="{text:.2f}" '
        f'stroke-width="{line:.2f}">{escape(name)}</text>'
    )


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of pixels (H, W, 3) or (H, W) uint8 (ISO/IEC 15948)."""
    height, width = pixels.shape[:2]
    color = 2 if pixels.ndim == 3 else 0
    lines = np.ascontiguousarray(pixels, dtype=np.uint8).reshape(height, -1)
    filtered = np.concatenate([np.zeros((height, 1), np.uint8), lines], 1)  # 0: no filter, for each line
    header = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 9)), (b"IEND", b""))
    return _SIGNATURE + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
