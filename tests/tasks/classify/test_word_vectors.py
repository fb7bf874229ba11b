"""Files of word vectors are read for the words that are asked for; broken ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from longspan.tasks.classify.word_vectors import read_vectors


def test_word_vectors(tmp_path: Path):
    path = tmp_path / "v.txt"
    path.write_text("3 2\nfilm 1 2\nFilm 3 4\nother 5 6\n")
    found = read_vectors(path, ["Film", "film", "absent"])
    assert {word: vector.tolist() for word, vector in found.items()} == {"film": [1, 2], "Film": [3, 4]}
    for text, said in (("film 1\nbad x y\nfilm 1 2\n", "2 numbers|1 numbers"), ("x 1 2\n", "none of them")):
        path.write_text(text)
        with pytest.raises(ValueError, match=said):
            read_vectors(path, ["film"])
