"""Runs one command of the command line and turns every error into one sentence and an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from . import messages
from .commands import longspan

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after the program's name, None for those of the process.

    Returns:
        The exit status:

        - 0: the command did its work.
        - 1: an error that only the library can mend, in one sentence (LONGSPAN_TRACEBACK=1 shows where), or
          the reader of the output has left.
        - 2: an error that the user can mend, in one sentence.
        - 130: the command was interrupted.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        with messages.notices_on_stderr():
            status = longspan.main(args=arguments, prog_name="longspan", standalone_mode=False)
            sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:  # the reader of the output has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, click.Abort):
        messages.on_stderr("interrupted; what is written when a command ends has not been written")
        return 130
    except Exception as error:
        if os.environ.get("LONGSPAN_TRACEBACK"):
            raise
        sentence, status = messages.explain(error)
        messages.on_stderr(sentence)
        return status
