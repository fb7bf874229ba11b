"""Reads files of word vectors: the text format of GloVe and fastText, plain or gzipped."""

from __future__ import annotations

import gzip
import os
from collections.abc import Collection, Iterator

import numpy as np

from longspan import errors
from longspan.data.readers.text_files import existing


def read_vectors(path: str | os.PathLike[str], words: Collection[str]) -> dict[str, np.ndarray]:
    """The vectors of some words, out of a file with a word and its numbers on every line.

    A first line with two whole numbers (how many words, how many numbers each), as word2vec and fastText
    write it, is passed over. Words are looked for as they are, then in small letters.

    Args:
        path: a text file, gzipped where its name ends in .gz.
        words: those to keep; the others cost no memory.

    Returns:
        word -> (D,) float32, for the words that the file has.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line is no word with D numbers, or the file has none of the words; one sentence.
    """
    wanted = {word.lower(): word for word in words} | {word: word for word in words}
    found: dict[str, np.ndarray] = {}
    size = None
    for number, line in _lines(path):
        word, *cells = line.rstrip().split(" ")
        if number == 1 and len(cells) == 1 and word.isdigit():
            continue
        size = len(cells) if size is None else size
        if word in wanted and (wanted[word] not in found or word == wanted[word]):
            found[wanted[word]] = _vector(cells, size, f"line {number} of {path}")
    if not found:
        way_out = "take vectors of the texts' language"
        raise errors.value_error(
            "pretrained_vectors", "a file with words of the texts", f"none of them in {path}", way_out
        )
    return found


def _lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, str]]:
    file = existing(path)
    opened = gzip.open if file.suffix == ".gz" else open
    with opened(file, "rb") as source:
        for number, raw in enumerate(source, 1):
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError as error:
                received = f"the byte 0x{raw[error.start]:02x} in line {number} of {path}"
                raise errors.value_error(
                    "pretrained_vectors", "a file in utf-8", received, "convert it"
                ) from error


def _vector(cells: list[str], size: int, place: str) -> np.ndarray:
    try:
        vector = np.array(cells, dtype=np.float32)
    except ValueError as error:
        received = f"{cells[0]!r} … in {place}"
        raise errors.value_error(
            "pretrained_vectors", "a word and its numbers on every line", received, "correct the file"
        ) from error
    if len(vector) != size:
        raise errors.value_error(
            "pretrained_vectors", f"{size} numbers a word", f"{len(vector)} in {place}", "correct the file"
        )
    return vector
