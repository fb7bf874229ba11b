"""Reads .ts files: series with labels, one or many channels, equal or unequal lengths."""

from __future__ import annotations

import os

import numpy as np

from longspan import errors
from longspan.data.readers.numeric import in_single_precision
from longspan.data.readers.text_files import lines


def read_ts(
    path: str | os.PathLike[str], encoding: str = "utf-8"
) -> tuple[list[np.ndarray], list[str] | None]:
    """The series of a .ts file, as the UEA and UCR archives are published.

    One line a series after `@data`: its channels with colons between, the values of a channel with commas,
    the label last where the header's `@classLabel` is true. `?` is a missing value, read as NaN.

    Returns:
        series, (T_i, D) float32 each; and their labels, None where the file has none.

    Raises:
        ValueError: a line cannot be read; the sentence has the file and the line.

    >>> import tempfile, pathlib
    >>> file = pathlib.Path(tempfile.mkdtemp()) / "two.ts"
    >>> _ = file.write_text("@classLabel true up down\\n@data\\n1,2,3:4,5,6:up\\n7,8:9,?:down\\n")
    >>> series, labels = read_ts(file)
    >>> [values.shape for values in series], labels
    ([(3, 2), (2, 2)], ['up', 'down'])
    """
    labelled, begun = False, False
    series: list[np.ndarray] = []
    labels: list[str] = []
    for number, line in lines(path, encoding):
        word = line.strip()
        if not begun:
            tag, _, rest = word.partition(" ")
            _refuse_stamps(path, tag.lower(), rest)
            labelled |= tag.lower() == "@classlabel" and rest.lower().startswith("true")
            begun = tag.lower() == "@data"
        elif not word.startswith(("#", "%")):
            channels = word.split(":")
            if labelled:
                labels.append(channels.pop().strip())
            series.append(_channels(channels, f"line {number} of {path}"))
    if not series:
        raise errors.value_error(
            "source", "a .ts file with series after @data", f"none in {path}", "check the file"
        )
    return series, labels if labelled else None


def _refuse_stamps(path: object, tag: str, rest: str) -> None:
    if tag == "@timestamps" and rest.strip().lower() == "true":
        way_out = "convert it to a CSV table with one row a reading"
        raise errors.value_error(
            "source", "a .ts file of evenly spaced readings", f"time stamps in {path}", way_out
        )


def _channels(parts: list[str], where: str) -> np.ndarray:
    try:
        channels = [
            np.array([float("nan" if cell.strip() == "?" else cell) for cell in part.split(",")])
            for part in parts
        ]
    except ValueError as error:
        received = f"{str(error).rpartition(': ')[2]} in {where}"
        raise errors.value_error(
            "source", "numbers with commas between", received, "correct the file"
        ) from error
    if len({len(channel) for channel in channels}) != 1:
        received = f"{[len(channel) for channel in channels]} readings in {where}"
        raise errors.value_error("source", "as many readings in every channel", received, "correct the file")
    return in_single_precision(np.stack(channels, 1))
