"""Lists the public names of the package, and writes a page of the reference for each group of modules."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import ModuleType

from longspan.tasks import TASKS

from .docstrings import as_markdown
from .tables import options_table

_MEMBERS = "\n    options:\n      members: null\n      inherited_members: {inherited}\n"
_WHOLE = ("longspan.models", "longspan.nn", "longspan.networks", "longspan.tasks", "longspan.export")
_ANNOTATION = re.compile(r"(: |-> )'([^']*)'")  # annotations are kept as text
_LONGEST = 300  # characters of a constant that are shown


@dataclass(frozen=True)
class Page:
    """One page of the reference.

    Args:
        title: its heading, and its name in the navigation.
        modules: the modules whose public names stand on the page, in this order.
    """

    title: str
    modules: tuple[str, ...]

    @property
    def path(self) -> str:
        """The page's file below docs/."""
        return f"reference/{self.title.lower().replace(' ', '-')}.md"


PAGES = (
    Page("Tasks", (*(module for module, _ in TASKS.values()), "longspan.tasks")),
    Page("nn", ("longspan.nn",)),
    Page("Cells and kernels", ("longspan.cells", "longspan.kernels")),
    Page("Models", ("longspan.models",)),
    Page("Layers", ("longspan.layers",)),
    Page("Losses", ("longspan.losses", "longspan.losses.functional")),
    Page("Metrics", ("longspan.metrics", "longspan.metrics.functional")),
    Page("Optimizers", ("longspan.optimizers", "longspan.optimizers.schedules")),
    Page("Callbacks", ("longspan.callbacks",)),
    Page("Activations", ("longspan.activations",)),
    Page("Initializers", ("longspan.initializers",)),
    Page("Regularizers and constraints", ("longspan.regularizers", "longspan.constraints")),
    Page("Data", ("longspan.data",)),
    Page(
        "Preprocessing",
        ("longspan.preprocessing", "longspan.preprocessing.sequence", "longspan.preprocessing.text"),
    ),
    Page("Training", ("longspan.training",)),
    Page("Search", ("longspan.search",)),
    Page("Networks", ("longspan.networks",)),
    Page("Export", ("longspan.export",)),
    Page("Report", ("longspan.report",)),
    Page("Serve", ("longspan.serve",)),
    Page("Saving", ("longspan.saving",)),
    Page("Utils", ("longspan.utils",)),
    Page("Config and backend", ("longspan.config", "longspan.backend")),
    Page("Ops", ("longspan.ops",)),
    Page("Top level", ("longspan",)),  # last: a name that another page describes is a link there
)


def public_names(module: ModuleType) -> list[str]:
    """The public names of a module but its submodules: `__all__`, or else what its own files define."""
    listed = getattr(module, "__all__", None)
    if listed is None:
        names = sorted(name for name in vars(module) if not name.startswith("_"))
        return [name for name in names if _is_own(module, name)]
    return [name for name in listed if not inspect.ismodule(getattr(module, name))]


def _is_own(module: ModuleType, name: str) -> bool:
    value = getattr(module, name)
    home = getattr(value, "__module__", None)
    if inspect.ismodule(value) or not isinstance(home, str):
        return False
    return home == module.__name__ or home.startswith(f"{module.__name__}.")


def page_text(page: Page, *, stubs: bool = False) -> str:
    """The Markdown of a page.

    Args:
        page: one of `PAGES`; stubs: whether every name is a heading alone, which is quick to build.
    """
    parts = [f"# {page.title}\n"]
    for name in page.modules:
        module = import_module(name)
        parts.append(f"## {name} {{ #{name} }}\n\n{inspect.getdoc(module) or ''}\n")
        parts += [_entry(module, public, stubs) for public in public_names(module)]
        if name == "longspan.tasks":
            parts.append("::: longspan.tasks.estimator.Estimator" + _MEMBERS.format(inherited="true"))
    return "\n".join(parts)


def _entry(module: ModuleType, name: str, stubs: bool) -> str:
    """The part of a page about one name: mkdocstrings' directive, a link, or a description made here."""
    value, anchor = getattr(module, name), f"{module.__name__}.{name}"
    heading = f"### {name} {{ #{anchor} }}\n"
    if name.startswith("__"):  # Markdown would take the signs for bold text
        heading = f'<h3 id="{anchor}"><code>{name}</code></h3>\n'
    described = _anchors().get(id(value), anchor)
    if described != anchor:
        page = next(page for page in PAGES if described.rpartition(".")[0] in page.modules)
        return f"{heading}\nThe same as [`{described}`]({page.path.rpartition('/')[2]}#{described}).\n"
    if stubs:
        return heading
    if not _is_statement(value, name):
        return f"{heading}\n{_description(name, value)}\n"
    if not module.__name__.startswith(_WHOLE):
        return f"::: {anchor}\n"
    task = next((task for task, (home, kind) in TASKS.items() if (home, kind) == (module.__name__, name)), "")
    members = _MEMBERS.format(inherited="true" if module.__name__ == "longspan.models" else "false")
    if task:  # the options' declarations are no signature to read
        members += "      merge_init_into_class: false\n"
    table = f"\n**Options**\n\n{options_table(task)}\n" if task else ""
    return f"::: {anchor}{members}{table}"


@cache
def _anchors() -> dict[int, str]:
    """The identity of each class and function -> where it is described, if possible under its own name."""
    anchors: dict[int, str] = {}
    for page in PAGES:
        for home in page.modules:
            module = import_module(home)
            values = {name: getattr(module, name) for name in public_names(module)}
            own_first = sorted(values, key=lambda name: getattr(values[name], "__name__", name) != name)
            for name in own_first:
                if callable(values[name]):
                    anchors.setdefault(id(values[name]), f"{home}.{name}")
    return anchors


def _description(name: str, value: object) -> str:
    """A name that no statement defines, such as a function that another function makes."""
    if isinstance(value, Mapping):
        return "A mapping of " + ", ".join(f"`{key}`" for key in value) + ".\n"
    if not callable(value):
        text = repr(value)
        return f"```python\n{text if len(text) <= _LONGEST else text[:_LONGEST] + ' ...'}\n```\n"
    try:
        signature = _ANNOTATION.sub(r"\1\2", str(inspect.signature(value)))
    except ValueError:  # a builtin one
        signature = "(...)"
    return f"```python\n{name}{signature}\n```\n\n{as_markdown(inspect.getdoc(value) or '')}"


def _is_statement(value: object, name: str) -> bool:
    """Whether a class or function statement of this name, as mkdocstrings reads it, defines the value."""
    home = getattr(value, "__module__", None)
    return isinstance(home, str) and home.startswith("longspan") and name in _statements(home)


@cache
def _statements(module: str) -> set[str]:
    tree = ast.parse(inspect.getsource(import_module(module)))
    return {node.name for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
