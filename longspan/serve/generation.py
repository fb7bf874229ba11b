"""Lets language models write: text that is sent as soon as it is drawn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from longspan import errors
from longspan.tasks.language import LanguageModel
from longspan.tasks.options import Option, arguments_of

from .limits import Limits, check_options, refused
from .schema import option_schema


def options() -> Mapping[str, Option]:
    """The arguments of `LanguageModel.generate`, by name."""
    return arguments_of(LanguageModel.generate)


def request_schema() -> dict[str, Any]:
    """The JSON schema of a request for text."""
    properties = {name: option_schema(option) for name, option in options().items()}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def begin(model: LanguageModel, content: Mapping[str, Any], limits: Limits) -> Iterator[str]:
    """The pieces of a text, drawn one after the other; content: the arguments of `generate` that are given.

    Raises:
        Refused: an argument is not known or not allowed; one sentence.
    """
    declared = options()
    check_options(declared, content)
    length = content.get("length", declared["length"].default)
    if length > limits.rows:
        raise refused(413, "length", f"at most {limits.rows:,}", length, "ask for less at once")
    with errors.collect_notices(quiet=True):
        return model.stream(**content)


async def pieces(text: Iterator[str], pool: ThreadPoolExecutor) -> AsyncIterator[str]:
    """The pieces of a text, each drawn by a thread of the pool."""
    loop = asyncio.get_running_loop()
    while True:
        piece = await loop.run_in_executor(pool, next, text, None)
        if piece is None:
            return
        yield piece
