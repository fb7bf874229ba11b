"""Pictures and captions are read from tables, JSON, COCO's and Flickr8k's forms; errors name what lacks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from longspan.tasks.caption.reading import CaptionColumns, read_captioned

pytestmark = pytest.mark.usefixtures("pictures")
COCO: dict[str, Any] = {
    "images": [{"id": 7, "file_name": "b.jpg"}, {"id": 3, "file_name": "a.png"}],
    "annotations": [
        {"image_id": 3, "caption": "a grey field"},
        {"image_id": 7, "caption": "a dark wall"},
        {"image_id": 3, "caption": "another field"},
    ],
}
TWO = [("a.png", ("a grey field", "another field")), ("b.jpg", ("a dark wall",))]
FILES = {
    "captions.csv": "image,caption\na.png,a grey field\na.png, another   field \nb.jpg,a dark wall\n",
    "captions.tsv": "file\ttext\na.png\ta grey field\na.png\tanother field\nb.jpg\ta dark wall\n",
    "captions.txt": 'image,caption\na.png,a grey field\na.png,"another field"\nb.jpg,a dark wall\n',
    "Flickr8k.token.txt": "a.png#0\ta grey field\na.png#1\tanother field\nb.jpg#0\ta dark wall\n",
    "captions.jsonl": '{"image": "a.png", "captions": ["a grey field", "another field"]}\n'
    '{"image": "b.jpg", "captions": "a dark wall"}\n',
    "captions.json": json.dumps(
        {"images": [{"filename": "a.png", "sentences": [{"raw": "a grey field"}, {"raw": "another field"}]},
                    {"filename": "b.jpg", "sentences": [{"raw": "a dark wall"}]}]}
    ),
}  # fmt: skip


def read(source: Any, y: Any = None, **options: Any) -> list[tuple[str, Any]]:
    return [(Path(one.file or "").name, one.captions) for one in read_captioned(source, y, **options)]


@pytest.mark.parametrize("name", list(FILES))
def test_files_of_captions(name: str, pictures: dict[str, np.ndarray]) -> None:
    Path("c.webp").unlink()
    Path(name).write_text(FILES[name])
    assert read(name) == read(".") == TWO
    found = read_captioned(name)[0]
    assert np.array_equal(found.pixels, pictures["a.png"]) and found.pixels.dtype == np.uint8


def test_coco(pictures: dict[str, np.ndarray]) -> None:
    Path("annotations.json").write_text(json.dumps(COCO))
    assert read("annotations.json") == TWO[::-1]
    wrong = {**COCO, "annotations": [{"image_id": 9, "caption": "a"}]}
    Path("annotations.json").write_text(json.dumps(wrong))
    with pytest.raises(
        ValueError, match=r"image: expected a picture for every caption, received the image_id 9"
    ):
        read("annotations.json")
    Path("annotations.json").write_text(json.dumps({**COCO, "annotations": COCO["annotations"][:1]}))
    with pytest.raises(
        ValueError, match=r"captions: expected a caption for every picture, received none for b.jpg"
    ):
        read("annotations.json")
    assert read("annotations.json", captions=False)[0] == ("b.jpg", None)
    Path("annotations.json").write_text('{"images": [{"id": 1}], "annotations": []}')
    with pytest.raises(ValueError, match="expected id and file_name of images"):
        read("annotations.json")


def test_pictures_in_a_folder_of_their_own() -> None:
    Path("images").mkdir()
    Path("a.png").rename("images/a.png")
    Path("list.csv").write_text("picture,description\na.png,a field\n")
    assert read("list.csv") == [("a.png", ("a field",))]
    Path("list.csv").rename("images/list.csv")
    assert read("images/list.csv", columns=CaptionColumns(folder="images")) == [("a.png", ("a field",))]
    Path("other.csv").write_text("which,said\nimages/a.png,one\n")
    assert read("other.csv", columns=CaptionColumns("which", "said")) == [("a.png", ("one",))]
    with pytest.raises(ValueError, match="image_column: expected a column called image or the like"):
        read("other.csv")
    with pytest.raises(
        ValueError, match=r"caption_column: expected one of the columns .* received 'sad'; the"
    ):
        read("other.csv", columns=CaptionColumns("which", "sad"))


def test_frames_lists_and_arrays() -> None:
    frame = pl.DataFrame(
        {"image": ["a.png", "a.png", "b.jpg"], "caption": ["a grey field", "another field", "a dark wall"]}
    )
    assert read(frame) == TWO
    assert read([("a.png", ["a grey field", "another field"]), (Path("b.jpg"), "a dark wall")]) == TWO
    assert read(["a.png", "b.jpg"], [["a grey field", "another field"], "a dark wall"]) == TWO
    array = np.random.default_rng(0).integers(0, 256, (2, 5, 6, 3), dtype=np.uint8)
    records = read_captioned(array, ["one", ["two", "three"]])
    assert [one.captions for one in records] == [("one",), ("two", "three")]
    assert np.array_equal(records[1].pixels, array[1])
    assert [one.pixels.shape for one in read_captioned(list(array[..., 0]), captions=False)] == [
        (5, 6, 1)
    ] * 2
    assert read_captioned(array / 255.0, ["one", "two"])[0].pixels.dtype == np.uint8


def test_pictures_alone_are_read_to_predict() -> None:
    assert read(".", captions=False) == [("a.png", None), ("b.jpg", None), ("c.webp", None)]
    assert read("b.jpg", captions=False) == [("b.jpg", None)]
    with pytest.raises(
        ValueError, match=r"captions: expected a caption for every picture, received none for a.png"
    ):
        read(".")


def test_large_pictures_are_shrunk_while_they_are_read() -> None:
    records = read_captioned(np.zeros((1, 30, 60, 3), np.uint8), captions=False, largest=20)
    assert records[0].pixels.shape == (10, 20, 3)


def test_a_picture_that_is_text() -> None:
    Path("d.png").write_text("not a picture at all")
    with pytest.raises(
        ValueError, match=r"file d.png: expected a picture, received what cannot be read as one"
    ):
        read(["d.png"], ["a"])


def test_a_missing_picture() -> None:
    Path("captions.csv").write_text("image,caption\na.png,one\nz.png,two\n")
    with pytest.raises(
        FileNotFoundError, match=r"image: expected a picture for every caption, .*row 3 of captions"
    ):
        read("captions.csv")


def test_a_missing_caption() -> None:
    Path("captions.csv").write_text("image,caption\na.png,one\nb.jpg,two\n")
    with pytest.raises(ValueError, match=r"expected a caption for every picture, received none for c.webp"):
        read(".")
    with pytest.raises(
        ValueError, match=r"captions: expected one for every picture, received 1 for 2 pictures"
    ):
        read(["a.png", "b.jpg"], ["one"])
    with pytest.raises(
        ValueError, match=r"captions: expected a caption for every picture, received none for b.jpg"
    ):
        read(["a.png", "b.jpg"], ["one", []])


@pytest.mark.parametrize("empty", ['""', "", '"  "'])
def test_an_empty_caption(empty: str) -> None:
    Path("captions.csv").write_text(f"image,caption\na.png,one\na.png,{empty}\n")
    with pytest.raises(
        ValueError, match=r"captions: expected a text in every caption, received an empty one for a"
    ):
        read("captions.csv")


def test_what_is_no_caption_or_no_picture() -> None:
    with pytest.raises(TypeError, match="captions: expected a list with a string or a list of strings"):
        read(["a.png"], "one")
    with pytest.raises(ValueError, match=r"captions: expected texts, received int for a.png"):
        read(["a.png"], [3])
    with pytest.raises(ValueError, match=r"picture 0: expected an array .* received shape \(4, 4, 2\)"):
        read([np.zeros((4, 4, 2))], ["one"])
    with pytest.raises(ValueError, match="at least one picture"):
        read([], [])
    with pytest.raises(TypeError, match="source: expected a path, a frame"):
        read(3)
    Path("captions.jsonl").write_text('{"image": "a.png", "caption": "one"}\nnothing\n')
    with pytest.raises(ValueError, match=r"source: expected JSON, received .* in line 2 of captions.jsonl"):
        read("captions.jsonl")
    Path("Flickr8k.token.txt").write_text("a.png#0\tone\nb.jpg two\n")
    with pytest.raises(ValueError, match=r"expected name.jpg#0, a tabulator, a caption, .* line 2"):
        read("Flickr8k.token.txt")
