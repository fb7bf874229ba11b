"""Knows how a fitted task becomes a report: one HTML file that shows what it learnt and how good it is."""

from __future__ import annotations

import os
import platform
from datetime import datetime
from pathlib import Path
from typing import Any

from longspan import __version__
from longspan.artifact import replacing
from longspan.tasks.estimator import Estimator

from .page import page, shown

__all__ = ["page", "report", "shown"]


def report(
    model: Estimator, path: str | os.PathLike[str], source: Any = None, *, title: str = "", lead: str = ""
) -> Path:
    """Write the report of a fitted task: what `model.exhibits` has to show, as one self-contained page.

    Pictures are drawn by matplotlib as SVG in the page's own colours: the file needs no script and no
    network, stays in the hundreds of kilobytes, and follows the reader's light or dark theme.

    Args:
        model: a fitted task.
        path: the .html file; it is written beside and renamed.
        source: what to evaluate on and to show; None for what the model itself remembers.
        title, lead: the page's heading and the sentence below it; "" for the task's own.

    Returns:
        Where it lies.

    Raises:
        ImportError: matplotlib or jinja2 is missing; the sentence names the command.
        ValueError: the model is not fitted, or the source is not what it takes.
        OSError: the file cannot be written; nothing is left of it.
    """
    import torch  # only for its version

    foot = (
        f"longspan {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}, "
        f"{platform.system()} {platform.machine()}; {datetime.now():%Y-%m-%d %H:%M}."
    )
    html = page(
        title or f"{type(model).__name__}", model.exhibits(source), lead=lead or repr(model), foot=foot
    )
    with replacing(path) as file:
        file.write(html.encode())
    return Path(path)
