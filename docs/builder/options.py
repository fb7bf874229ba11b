"""Writes the options of every task into its class's docstring, which editors show: `make options`."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from longspan import tasks

_BLOCK = re.compile(r"\n\n    Options:\n.*\Z", re.DOTALL)


def with_options(source: str, task: type) -> str:
    """The source of a task's module, with the options at the end of its class's docstring.

    Args:
        source: of the module that defines `task`.
    """
    head = re.search(rf'^class {task.__name__}\b.*?:\n    """', source, re.DOTALL | re.MULTILINE)
    assert head is not None, task
    end = source.index('"""', head.end())
    docstring = _BLOCK.sub("", source[head.end() : end].rstrip())
    options = (task.__doc__ or "").partition("\n\n    Options:\n")[2].rstrip()
    return f"{source[: head.end()]}{docstring}\n\n    Options:\n{options}\n    {source[end:]}"


def outdated() -> dict[Path, str]:
    """The files whose docstrings lack options as they are declared, with the source that they should have."""
    changed = {}
    for name in tasks.TASKS:
        task = tasks.task(name)
        path = Path(inspect.getfile(task))
        source = path.read_text(encoding="utf-8")
        if (new := with_options(source, task)) != source:
            changed[path] = new
    return changed


if __name__ == "__main__":
    for path, source in outdated().items():
        path.write_text(source, encoding="utf-8")
        print(path)
