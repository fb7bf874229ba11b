"""Makes docstrings Markdown: examples become code, and signs that mean nothing there are kept as they are."""

from __future__ import annotations

import re
from typing import Any

import griffe

_CODE = re.compile(r"(`[^`]*`)")
_SIGNS = re.compile(r"(?<=[\w)])\*(?=[\w(])|(?<!\*)\*{1,2}(?=\w+[, )])|<(?=[a-zA-Z/])")


def as_markdown(text: str) -> str:
    """A docstring whose examples at its margin are code, and whose * and < are no markup.

    >>> as_markdown("Shape (3*H,).")
    'Shape (3\\\\*H,).'
    """
    return "\n\n".join(_paragraph(paragraph) for paragraph in re.split(r"\n{2,}", text))


def _paragraph(text: str) -> str:
    if text.startswith(">>> "):
        return f"```pycon\n{text}\n```"
    if ">>> " in text:
        return text
    parts = _CODE.split(text)
    return "".join(part if part.startswith("`") else _SIGNS.sub(_escaped, part) for part in parts)


def _escaped(signs: re.Match[str]) -> str:
    return "&lt;" if signs[0] == "<" else "".join(f"\\{sign}" for sign in signs[0])


class Markdown(griffe.Extension):
    """Applies `as_markdown` to every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of one class, function, module or attribute."""
        if obj.docstring is not None:
            text = obj.docstring.value.partition("\n\nOptions:\n")[0]  # which a table shows
            obj.docstring.value = as_markdown(text)
