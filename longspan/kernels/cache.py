"""Names the folder that keeps kernels once printed or compiled, and choices once measured."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """`$LONGSPAN_CACHE`, else `~/.cache/longspan`; it need not exist yet."""
    root = os.environ.get("LONGSPAN_CACHE")
    return Path(root).absolute() if root else Path.home() / ".cache" / "longspan"
