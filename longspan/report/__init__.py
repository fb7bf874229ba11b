"""Writes reports: one HTML file that shows what a model learnt and how good it is."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from longspan import __version__
from longspan.atomic_file import atomic_write

from .elements import Section
from .page import format_value, page

__all__ = ["format_value", "page", "write_report"]


def write_report(
    sections: Sequence[Section], path: str | os.PathLike[str], *, title: str, lead: str = ""
) -> Path:
    """Write sections, such as those of a fitted task, as one self-contained page.

    Pictures are drawn by matplotlib as SVG in the page's own colours: the file needs no
    network, stays in the hundreds of kilobytes, and follows the reader's light or dark theme. A small script
    in it shows the values under the pointer; without it the page lacks nothing else.

    Args:
        sections: what the page shows, in order.
        path: the .html file; it is written beside and renamed.
        title, lead: the page's heading and the sentence below it, "" for none.

    Returns:
        Where it lies.

    Raises:
        ImportError: matplotlib or jinja2 is missing; the sentence names the command.
        OSError: the file cannot be written; nothing is left of it.
    """
    import torch  # only for its version

    foot = (
        f"longspan {__version__}, Python {platform.python_version()}, PyTorch {torch.__version__}, "
        f"{platform.system()} {platform.machine()}; {datetime.now():%Y-%m-%d %H:%M}."
    )
    html = page(title, sections, lead=lead, foot=foot)
    with atomic_write(path) as file:
        file.write(html.encode())
    return Path(path)
