"""Reads pictures with one or several captions each: tables, JSON, COCO's and Flickr8k's forms, arrays."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from longspan import errors
from longspan.data.frames import PICTURE_ENDINGS, FrameFormat, array_frames, read_picture
from longspan.data.readers.frames import is_frame
from longspan.data.readers.tables import TABLE_ENDINGS, ReadOptions, is_path, read_source
from longspan.data.readers.text_files import decoded, ending_of, existing, visible_files

_JSON = (".jsonl", ".ndjson", ".json")
_TABLES = (*TABLE_ENDINGS, ".txt", *_JSON)
_IMAGE_NAMES = (
    "image",
    "file",
    "file_name",
    "filename",
    "path",
    "image_path",
    "picture",
    "image_name",
    "img",
)
_CAPTION_NAMES = ("caption", "captions", "text", "description", "sentence", "sentences", "comment", "formula")
_FLICKR_LINE = re.compile(r"(?P<image>[^\t]+)#\d+\t(?P<caption>.*)")
_SUBFOLDERS = ("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset")  # beside a table of captions
_KINDS = "a path, a frame with images and captions, a list of paths, or arrays (H, W, C)"
_LARGEST = 256  # pixels of a side, beyond which a picture is shrunk while it is read


class CaptionedPicture(NamedTuple):
    """pixels: (H, W, 1 or 3) uint8; captions: its texts, None where they are not known.

    file: the path; None for an array.
    """

    pixels: np.ndarray
    captions: tuple[str, ...] | None = None
    file: str | None = None


class CaptionColumns(NamedTuple):
    """Names of the columns of images and of captions, None for those to be found.

    folder: of the images, None for that of the table; encoding: of text files.
    """

    image: str | None = None
    caption: str | None = None
    folder: str | None = None
    encoding: str = "utf-8"


class _Item(NamedTuple):
    """A picture that is not read yet. image: a path, or an array; place: where errors say that it is."""

    image: Any
    captions: list[str | None] | None
    place: str


def read_captioned(
    source: Any,
    y: Any = None,
    *,
    columns: CaptionColumns | None = None,
    captions: bool = True,
    largest: int = _LARGEST,
) -> list[CaptionedPicture]:
    """Pictures out of a source, with their captions where it has some.

    Args:
        source: a picture file (PNG, JPEG, WebP); a folder of them, with or without one file captions.csv,
            .tsv, .txt, .json or .jsonl; a table with columns of images and captions, a row for each caption;
            JSON lines whose captions are a string or a list; JSON in COCO's form (images, annotations); a
            text file in Flickr8k's form (`name.jpg#0`, a tabulator, the caption); a frame; a list of paths,
            arrays, or pairs (picture, caption or captions); an array (N, H, W) or (N, H, W, C).
        y: the captions where they come apart: for each picture a string or a list of strings.
        columns: of a table; None for those that are found.
        captions: whether a picture without a caption is refused.
        largest: pixels of the longer side; a larger picture is shrunk to it while it is read.

    Raises:
        FileNotFoundError, ValueError, TypeError: there is nothing to read, a file is no picture, a caption
            or a picture is missing; one sentence.
    """
    columns = columns or CaptionColumns()
    items = _items(source, columns, captions and y is None)
    if y is not None:
        items = _with_captions(items, y)
    if not items:
        raise errors.value_error("source", "at least one picture", "none", "check what was read")
    pictures = []
    for item in items:
        texts = _clean_captions(item, captions)
        if isinstance(item.image, Path):
            pixels = _shrunk(read_picture(item.image, extra="caption"), largest)
            pictures.append(CaptionedPicture(pixels, texts, str(item.image)))
        else:
            pictures.append(CaptionedPicture(_shrunk(_array_picture(item), largest), texts))
    return pictures


def _array_picture(item: _Item) -> np.ndarray:
    shape = np.shape(item.image)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] not in (1, 3, 4)):
        expected = "an array (H, W) or (H, W, C) with 1, 3 or 4 channels"
        raise errors.value_error(item.place, expected, f"shape {shape}", "put the channels last")
    return array_frames(np.asarray(item.image)[np.newaxis], item.place)[0]


def _shrunk(pixels: np.ndarray, largest: int) -> np.ndarray:
    """The picture (H, W, 1 or 3), with no side longer than `largest`."""
    pixels = pixels[..., :3]
    height, width, channels = pixels.shape
    if max(height, width) <= largest:
        return np.ascontiguousarray(pixels)
    scale = largest / max(height, width)
    form = FrameFormat(max(1, round(height * scale)), max(1, round(width * scale)), channels)
    return form(pixels[np.newaxis])[0].permute(1, 2, 0).numpy()


# ---- captions


def clean_caption(text: str) -> str:
    """A text in Unicode's form NFC with single blanks.

    >>> clean_caption(" a   dog ")
    'a dog'
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def _clean_captions(item: _Item, needed: bool) -> tuple[str, ...] | None:
    """The captions of a picture; an error for one that is missing, empty, or no text."""
    if not item.captions:
        if needed:
            received = f"none for {item.place}"
            way_out = "give it one or leave the picture out"
            raise errors.value_error("captions", "a caption for every picture", received, way_out)
        return None
    odd = next((one for one in item.captions if one is not None and not isinstance(one, str)), None)
    if odd is not None:
        received = f"{type(odd).__name__} for {item.place}"
        raise errors.value_error("captions", "texts", received, "convert it to a string")
    texts = tuple(clean_caption(one or "") for one in item.captions)
    if needed and not all(texts):
        received = f"an empty one for {item.place}"
        raise errors.value_error("captions", "a text in every caption", received, "fill it or leave it out")
    return tuple(text for text in texts if text) or None


def _listed(value: Any) -> list[Any] | None:
    """One caption or several as a list; None for none."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (str, np.str_)):
        return [str(value)]
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        return [value]
    return [_raw(one) for one in value]


def _raw(value: Any) -> Any:
    """A caption of a list; {"raw": ...} and {"caption": ...} are objects with one."""
    if isinstance(value, Mapping):
        return value.get("raw", value.get("caption", value))
    return str(value) if isinstance(value, np.str_) else value


def _with_captions(items: list[_Item], y: Any) -> list[_Item]:
    if isinstance(y, (str, bytes)) or not isinstance(y, Iterable):
        expected = "a list with a string or a list of strings for each picture"
        raise errors.type_error("captions", expected, y, "put them in a list")
    rows = list(y)
    if len(rows) != len(items):
        received = f"{len(rows)} for {len(items)} pictures"
        raise errors.value_error("captions", "one for every picture", received, "give as many of both")
    return [item._replace(captions=_listed(row) or []) for item, row in zip(items, rows, strict=True)]


# ---- sources


def _items(source: Any, columns: CaptionColumns, needed: bool) -> list[_Item]:
    if is_path(source):
        path = existing(source)
        if path.is_dir():
            return _from_folder(path, columns, needed)
        if ending_of(path) in _TABLES:
            return _from_file(path, columns, needed)
        return [_Item(path, None, str(path))]
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray) and source.dtype != object:
        return _from_array(source)
    if is_frame(source):
        return _from_frame(source, Path(columns.folder or "."), columns, needed, "source")
    if isinstance(source, bytes) or not isinstance(source, Iterable):
        raise errors.type_error("source", _KINDS, source, "convert it to one of these")
    return [_list_item(row, at) for at, row in enumerate(source)]


def _from_array(array: np.ndarray) -> list[_Item]:
    if array.ndim not in (3, 4):
        expected = "pictures (N, H, W) or (N, H, W, C)"
        raise errors.value_error("source", expected, f"shape {array.shape}", "put one picture into a list")
    return [_Item(picture, None, f"picture {at}") for at, picture in enumerate(array)]


def _list_item(row: Any, at: int) -> _Item:
    """A picture of a list, with its captions if it is a pair."""
    place = f"row {at}"
    if isinstance(row, tuple) and len(row) == 2:
        return _list_item(row[0], at)._replace(captions=_listed(row[1]) or [])
    if is_path(row):
        return _Item(_image_path(Path(str(row)), Path(), place), None, f"{row} ({place})")
    if isinstance(row, Tensor):
        row = row.detach().cpu().numpy()
    return _Item(row, None, f"picture {at}")


def _image_path(name: Path, folder: Path, place: str) -> Path:
    """The file of a picture: in the folder, or in one of those beside a table."""
    for path in (folder / name, *(folder / sub / name for sub in _SUBFOLDERS)):
        if path.is_file():
            return path
    received = f"{folder / name}, where nothing is, in {place}"
    way_out = "correct the path, or name its folder as image_folder"
    raise FileNotFoundError(errors.message("image", "a picture for every caption", received, way_out))


def _from_folder(folder: Path, columns: CaptionColumns, needed: bool) -> list[_Item]:
    files = visible_files(folder)
    tables = [file for file in files if file.parent == folder and _is_captions(file)]
    if len(tables) > 1:
        received = ", ".join(file.name for file in tables)
        raise errors.value_error(f"folder {folder}", "one file of captions", received, "name one of them")
    pictures = [file for file in files if file.suffix.lower() in PICTURE_ENDINGS]
    if tables:
        items = _from_file(tables[0], columns, needed)
        if needed:
            _check_all_named(pictures, items, tables[0])
        return items
    if not pictures:
        way_out = f"put files that end in {', '.join(PICTURE_ENDINGS[:4])} there"
        raise errors.value_error(f"folder {folder}", "pictures", "none", way_out)
    return [_Item(file, None, str(file)) for file in pictures]


def _is_captions(path: Path) -> bool:
    known = path.name.lower().startswith(("caption", "flickr8k.token", "metadata."))
    return known and ending_of(path) in _TABLES


def _check_all_named(pictures: Sequence[Path], items: Sequence[_Item], table: Path) -> None:
    """Refuse pictures of a folder that its table does not name."""
    named = {Path(item.image).resolve() for item in items}
    without = [file for file in pictures if file.resolve() not in named]
    if without:
        others = f" and {len(without) - 1} others" if len(without) > 1 else ""
        received = f"none for {without[0].name}{others}"
        way_out = "add a row, or move the file away"
        raise errors.value_error(f"file {table}", "a caption for every picture", received, way_out)


# ---- files of captions


def _from_file(path: Path, columns: CaptionColumns, needed: bool) -> list[_Item]:
    folder = path.parent if columns.folder is None else Path(columns.folder)
    ending = ending_of(path)
    if ending in _JSON:
        return _from_json(path, folder, columns, needed)
    if ending in (".txt", ".tsv"):
        lines = decoded(path, columns.encoding).splitlines()
        if lines and _FLICKR_LINE.fullmatch(lines[0]):
            return _from_flickr(path, lines, folder)
    return _from_frame(path, folder, columns, needed, str(path))


def _from_flickr(path: Path, lines: Sequence[str], folder: Path) -> list[_Item]:
    """Lines `name.jpg#0`, a tabulator, a caption."""
    rows = []
    for number, line in enumerate(lines, 1):
        match = _FLICKR_LINE.fullmatch(line)
        if match is not None:
            rows.append((match["image"], match["caption"], f"line {number} of {path}"))
        elif line.strip():
            received = f"{line[:40]!r} in line {number} of {path}"
            raise errors.value_error("source", "name.jpg#0, a tabulator, a caption", received, "correct it")
    return _grouped(rows, folder)


def _grouped(rows: Iterable[tuple[str, Any, str]], folder: Path) -> list[_Item]:
    """Items out of (image, caption or captions, place), one for each image, in the order of the images."""
    items: dict[str, _Item] = {}
    for name, value, place in rows:
        captions = _listed(value)
        if name not in items:
            items[name] = _Item(_image_path(Path(name), folder, place), None, f"{name} ({place})")
        if captions is not None:
            items[name] = items[name]._replace(captions=[*(items[name].captions or []), *captions])
    return list(items.values())


def _from_frame(source: Any, folder: Path, columns: CaptionColumns, needed: bool, name: str) -> list[_Item]:
    text = {*_IMAGE_NAMES, *_CAPTION_NAMES, columns.image or "", columns.caption or ""}
    options = ReadOptions(encoding=columns.encoding)
    frame = read_source(source, options=options, text=text).frame
    image = _column(frame.columns, columns.image, _IMAGE_NAMES, "image_column", name, needed=True)
    caption = _column(frame.columns, columns.caption, _CAPTION_NAMES, "caption_column", name, needed=needed)
    first = 2 if is_path(source) else 0
    texts = [None] * len(frame) if caption is None else frame[caption].to_list()
    rows = [
        (_name(value, place), text if caption is None or text is not None else [None], place)
        for value, text, place in zip(
            frame[image or ""].to_list(),
            texts,
            (f"row {row + first} of {name}" for row in range(len(frame))),
            strict=True,
        )
    ]
    return _grouped(rows, folder)


def _name(value: Any, place: str) -> str:
    if value is None or not str(value).strip():
        raise errors.value_error("image", "a path in every row", f"none in {place}", "fill it")
    return str(value).strip()


def _column(
    names: Sequence[str], wanted: str | None, usual: Sequence[str], option: str, where: str, *, needed: bool
) -> str | None:
    """The column or field that the option names, or that has a usual name."""
    listed = f"the columns of {where} ({', '.join(names[:12])})"
    if wanted is not None:
        if wanted not in names:
            way_out = errors.did_you_mean(wanted, names)
            raise errors.value_error(option, f"one of {listed}", repr(wanted), way_out)
        return wanted
    lowered = {column.strip().lower(): column for column in reversed(names)}
    column = next((lowered[one] for one in usual if one in lowered), None)
    if column is None and needed:
        raise errors.value_error(option, f"a column called {usual[0]} or the like", listed, "name it")
    return column


# ---- JSON


def _from_json(path: Path, folder: Path, columns: CaptionColumns, needed: bool) -> list[_Item]:
    text = decoded(path, columns.encoding)
    if ending_of(path) == ".json":
        content = _parsed(text, str(path))
        if isinstance(content, Mapping):
            return _from_coco(content, folder, path, columns, needed)
        rows = [(row, f"record {number} of {path}") for number, row in enumerate(content)]
    else:
        lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
        rows = [(_parsed(line, f"line {n} of {path}"), f"line {n} of {path}") for n, line in lines]
    return _from_objects(rows, folder, columns, needed)


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        received = f"{getattr(error, 'msg', 'values nested too deep')} in {place}"
        raise errors.value_error("source", "JSON", received, "correct it") from error


def _from_objects(
    rows: Sequence[tuple[Any, str]], folder: Path, columns: CaptionColumns, needed: bool
) -> list[_Item]:
    """Items out of JSON objects with a field for the image and one for its caption or captions."""
    odd = next((place for row, place in rows if not isinstance(row, Mapping)), None)
    if odd is not None:
        raise errors.value_error(
            "source", "an object for every picture", f"another value in {odd}", "correct it"
        )
    names = list(dict.fromkeys(str(name) for row, _ in rows for name in row))
    where = rows[0][1].split(" of ", 1)[-1] if rows else "source"
    image = _column(names, columns.image, _IMAGE_NAMES, "image_column", where, needed=True)
    caption = _column(names, columns.caption, _CAPTION_NAMES, "caption_column", where, needed=needed)
    found = ((_name(row.get(image), place), row.get(caption), place) for row, place in rows)
    return _grouped(found, folder)


def _from_coco(
    content: Mapping[str, Any], folder: Path, path: Path, columns: CaptionColumns, needed: bool
) -> list[_Item]:
    """COCO's form: images with id and file_name, annotations with image_id and caption.

    Without annotations the images have their captions themselves, as {"filename", "sentences": [{"raw"}]}
    (Karpathy and Fei-Fei 2015).
    """
    images, annotations = content.get("images"), content.get("annotations")
    if not isinstance(images, Sequence):
        received = f"the fields {', '.join(map(str, list(content)[:8]))} in {path}"
        raise errors.value_error("source", "the fields images and annotations", received, "see COCO's form")
    if annotations is None:
        rows = [(image, f"image {number} of {path}") for number, image in enumerate(images)]
        return _from_objects(rows, folder, columns, needed)
    try:
        names = {image["id"]: str(image["file_name"]) for image in images}
        captions = [(annotation["image_id"], annotation["caption"]) for annotation in annotations]
    except (KeyError, TypeError) as error:
        received = f"an entry without {error} in {path}"
        expected = "id and file_name of images, image_id and caption of annotations"
        raise errors.value_error("source", expected, received, "correct it") from error
    unknown = next((number for number, _ in captions if number not in names), None)
    if unknown is not None:
        received = f"the image_id {unknown!r} in {path}, which no image has"
        raise errors.value_error("image", "a picture for every caption", received, "add the image")
    rows = [(names[number], caption, f"image {number} of {path}") for number, caption in captions]
    silent = [(name, None, f"image {number} of {path}") for number, name in names.items()]
    order = {name: at for at, name in enumerate(names.values())}
    return sorted(_grouped([*rows, *silent], folder), key=lambda item: order[item.place.rpartition(" (")[0]])
