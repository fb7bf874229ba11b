"""Every page's code runs, its commands and links exist, and every public name is in the reference."""

from __future__ import annotations

import ast
import doctest
import json
import re
import shlex
import shutil
import textwrap
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

import click
import pytest
import torch

pytest.importorskip("mkdocs", reason="mkdocs is not installed")

from mkdocs.commands import build as mkdocs_build
from mkdocs.config import load_config

import longspan
from docs.builder import docstrings, measured
from docs.builder.hooks import STUBS
from docs.builder.reference import PAGES, page_text, public_names
from longspan import cli, errors

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = sorted((ROOT / "docs").rglob("*.md"))
BESIDES = (
    "kernels", "losses.functional", "metrics.functional", "optimizers.schedules", "preprocessing.sequence",
    "preprocessing.text", "report", "search", "serve",
)  # fmt: skip


ON_GPU = {"gpu.md"}  # pages whose code needs one


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT / "docs"))


def blocks(page: Path, language: str) -> list[str]:
    """A page's code in one language, those inside of tabs too."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", page.read_text(), re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(code) for _, code in found]


@pytest.mark.parametrize("page", [page for page in WRITTEN if blocks(page, "python")], ids=name_of)
def test_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if name_of(page) in ON_GPU and not torch.cuda.is_available():
        pytest.skip("there is no GPU")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict[str, object] = {"__name__": "page"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.LongspanWarning)  # few records
        # since Python 3.12, of a DataLoader's forked workers
        warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
        for code in blocks(page, "python"):
            exec(compile(code, str(page), "exec"), names)


def commands() -> list[tuple[str, str]]:
    lines = [
        (name_of(page), line) for page in WRITTEN for code in blocks(page, "sh") for line in code.splitlines()
    ]
    return [(page, line.partition("#")[0]) for page, line in lines if line.startswith("longspan ")]


@pytest.mark.parametrize(("page", "line"), commands())
def test_commands_exist(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    command: click.Command = cli.commands.longspan
    context = click.Context(command)
    while isinstance(command, click.Group):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command, context = found, click.Context(found, parent=context)
    flags = {
        flag
        for parameter in command.get_params(context)
        for flag in (*parameter.opts, *parameter.secondary_opts)
    }
    assert {word for word in words if word.startswith("-")} <= flags, line


@cache
def section_titles() -> set[str]:
    """The titles of all sections that a task's report may have."""
    trees = [ast.parse(path.read_text()) for path in (ROOT / "longspan/tasks").rglob("*.py")]
    calls = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    sections = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Section"]
    return {
        str(call.args[0].value) for call in sections if call.args and isinstance(call.args[0], ast.Constant)
    }


@pytest.mark.parametrize("task", longspan.tasks.TASKS)
def test_reports_have_the_sections_that_a_guide_names(task: str) -> None:
    text = (ROOT / "docs/guides" / f"{task}.md").read_text()
    part = text[text.index("## What the report says") : text.index("## Options that matter")]
    named = set(re.findall(r"\*\*(.+?)\*\*", part))
    assert "Summary" in named
    assert named <= section_titles()


def build(site: Path) -> None:
    """Build the pages, strictly."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of mkdocs' own parts; those about pages are counted by `strict`
        mkdocs_build.build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(site), strict=True))


def outside(site: Path) -> list[str]:
    """What the pages load from other machines."""
    loads = re.compile(
        r"""<(?:script|img|iframe|source)[^>]*\ssrc="(https?:|//)|<link[^>]*href="(?:https?:|//)[^>]*>"""
    )
    return [
        f"{page.name}: {found[0]}"
        for page in site.rglob("*.html")
        for found in loads.finditer(page.read_text())
    ]


def test_pages_build_without_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(STUBS, "1")
    build(tmp_path / "site")
    assert (tmp_path / "site/reference/layers.html").exists()
    assert outside(tmp_path / "site") == []


def test_docstrings_become_markdown() -> None:
    assert doctest.testmod(docstrings).failed == 0
    text = "Shapes (I, 3*H) and `3*H`; <pad>.\n\nArgs:\n    *parts: of it.\n\nExample:\n    >>> 3*2\n    6"
    assert docstrings.as_markdown(text) == (
        "Shapes (I, 3\\*H) and `3*H`; &lt;pad>.\n\nArgs:\n    *parts: of it.\n\nExample:\n    >>> 3*2\n    6"
    )


@pytest.mark.slow
def test_the_reference_builds_without_a_warning(tmp_path: Path) -> None:
    site = tmp_path / "site"
    build(site)
    assert outside(site) == []
    packed = shutil.make_archive(str(tmp_path / "packed"), "zip", site)
    assert Path(packed).stat().st_size < 3_000_000, "the pages go into the wheel"
    for page in PAGES:
        html = (site / page.path).with_suffix(".html").read_text()
        anchors = set(re.findall(r'id="([\w.]+)"', html))
        for name in page.modules:
            assert {f"{name}.{public}" for public in public_names(import_module(name))} <= anchors


def modules() -> list[ModuleType]:
    """The package, its public modules, and those of its folders that hold public names."""
    parts = [longspan, *(import_module(f"longspan.{name}") for name in BESIDES)]
    return parts + [
        value for name in longspan.__all__ if isinstance(value := getattr(longspan, name), ModuleType)
    ]


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.__name__)
def test_every_public_name_is_in_the_reference(module: ModuleType) -> None:
    text = "\n".join(page_text(page, stubs=True) for page in PAGES if module.__name__ in page.modules)
    listed = getattr(module, "__all__", None) or public_names(module)
    names = [name for name in listed if not isinstance(getattr(module, name), ModuleType)]
    assert names
    anchors = set(re.findall(r"""\{ #([\w.]+) \}|id="([\w.]+)\"""", text))
    assert {f"{module.__name__}.{name}" for name in names} <= {"".join(anchor) for anchor in anchors}


def test_the_readmes_figures_are_published() -> None:
    figure = re.compile(r"\d+\.\d+")
    text = (ROOT / "README.md").read_text()
    stated = set(figure.findall(text[text.index("## Measured") : text.index("## Work on it")]))
    published = measured.PUBLISHED.read_text()
    assert stated <= set(figure.findall(published))
    for section in json.loads(published)["sections"]:
        assert {len(row) for row in section["rows"]} == {len(section["columns"])}, section["title"]
    assert "| ETTh1, oil temperature, 24 hours | MSE | **0.0260** |" in measured.measured_page()
