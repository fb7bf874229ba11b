"""Knows the commands: their names, their arguments and what they print."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple, NoReturn

from longspan import __version__, checks


class Command(NamedTuple):
    """A command: its line of help, what adds its arguments to a parser, what runs it (-> exit status)."""

    help: str
    arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name, None for the process's own.

    Returns:
        The exit status, 0 when all went well.

    Raises:
        SystemExit: status 2 with one sentence for wrong arguments, 0 after --help or --version.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    parser = _parser()
    if not words:
        parser.error(checks.sentence("command", f"one of {', '.join(COMMANDS)}", "none", "add one"))
    if not words[0].startswith("-") and words[0] not in COMMANDS:
        parser.error(_unknown(words[0]))
    options = parser.parse_args(words)
    return COMMANDS[options.command].run(options)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one sentence, without the usage around it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message.rstrip('.')} (see {self.prog} --help).\n")


def _unknown(word: str) -> str:
    return checks.sentence(
        "command", f"one of {', '.join(COMMANDS)}", repr(word), checks.guess(word, COMMANDS)
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="longspan", description="Recurrent networks for sequences.", allow_abbrev=False)
    parser.add_argument("--version", action="version", version=f"longspan {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.arguments(
            commands.add_parser(name, help=command.help, description=command.help, allow_abbrev=False)
        )
    return parser


def _no_arguments(parser: argparse.ArgumentParser) -> None:
    """A command without arguments of its own."""


def _info(_: argparse.Namespace) -> int:
    import torch  # only here: the command line answers --help and mistakes without loading it

    facts = {
        "longspan": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "threads": str(torch.get_num_threads()),
        **_backends(),
    }
    for name, fact in facts.items():
        print(f"{name:<14}{fact}")
    return 0


def _backends() -> dict[str, str]:
    """Each backend and instruction set: chosen, available, or why not, for a small float32 LSTM."""
    from longspan import kernels

    job = kernels.trial()
    chosen, _ = kernels.choose(job)
    reasons = {name: kernels.why_not(name, job) for name in kernels.names()}
    return {
        name: (f"no: {reason}" if reason else "yes, chosen" if name == chosen else "yes")
        for name, reason in reasons.items()
    }


COMMANDS = {
    "info": Command("Show versions, backends, instruction sets and threads.", _no_arguments, _info),
}
