"""The measures of the code count planted code: long bodies, import arrows, users of shared files."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import house


def planted(folder: Path) -> Path:
    root = folder / house.PACKAGE
    for name in ("data", "nn", "tasks/video"):
        (root / name).mkdir(parents=True)
    (root / "__init__.py").write_text("from .nn import layer\n")
    (root / "errors.py").write_text("")
    (root / "data/batches.py").write_text("from longspan import errors\n")
    (root / "nn/layer.py").write_text("def run():\n    from ..data.batches import Batch\n")
    (root / "tasks/video/codec.py").write_text(
        "from ...data import batches\nfrom ...nn.layer import run\nfrom longspan import _core\n\n\n"
        "class Codec:\n"
        '    def short(self):\n        """Says\n        nothing."""\n        return 1\n\n'
        "    def long(self):\n" + "        self.x = 1\n" * 300
    )
    return root


def test_it_counts_what_is_there(tmp_path: Path) -> None:
    root = planted(tmp_path)
    functions, classes = house.lengths(root)
    assert functions == [
        (300, "tasks/video/codec.py long"), (1, "tasks/video/codec.py short"), (1, "nn/layer.py run")
    ]  # fmt: skip
    assert classes == [(307, "tasks/video/codec.py Codec")]
    assert house.arrows(root) == {
        ("data", "errors"), ("nn", "data"), ("tasks.video", "data"), ("tasks.video", "nn")
    }  # fmt: skip
    assert house.users(root) == {"data/batches.py": {"nn", "tasks.video"}}


def test_what_misses_its_aim_is_marked(tmp_path: Path) -> None:
    rows = {row.what: row for row in house.code(planted(tmp_path))}
    assert rows["longest class"].good is rows["longest function"].good is False
    assert rows["longest file"].good and rows["import arrows between rooms"].figure == "4"


@pytest.mark.slow
def test_it_measures_this_code(capsys: pytest.CaptureFixture[str]) -> None:
    house.main()
    assert "import arrows between rooms" in capsys.readouterr().out
