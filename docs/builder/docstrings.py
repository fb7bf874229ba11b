"""Marks the examples in docstrings as code, so that Markdown does not read them as text."""

from __future__ import annotations

import re
from typing import Any

import griffe


def mark_examples(text: str) -> str:
    """A docstring whose paragraphs that begin with >>> at its margin are code.

    >>> print(mark_examples("Adds.\\n\\n>>> 1 + 1\\n2"))
    Adds.
    <BLANKLINE>
    ```pycon
    >>> 1 + 1
    2
    ```
    """
    paragraphs = re.split(r"\n{2,}", text)
    return "\n\n".join(f"```pycon\n{p}\n```" if p.startswith(">>> ") else p for p in paragraphs)


class MarkExamples(griffe.Extension):
    """Applies `mark_examples` to every docstring that is read."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of one class, function, module or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = mark_examples(obj.docstring.value)
