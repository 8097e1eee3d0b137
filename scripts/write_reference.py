"""Writes two pages of docs/reference: one line for every public name, and one for every setting of the app.

`--check` writes nothing and fails if a page is out of date.
"""

import ast
import dataclasses
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from segtrust.experiments.pages import write_or_check

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
LIB = ROOT / "lib" / "segtrust"
# The command line and the app are used by their commands and routes, experiments by `benchmarks/` alone.
NOT_IMPORTED = ("__main__", "cli", "experiments", "label")

HEAD = """# Reference

One line for every public name; the docstrings hold formulas, shapes, units and sources
(`python -c "help(segtrust.scores)"`). Made by `python scripts/write_reference.py`.
"""

SETTINGS_HEAD = """# Settings

What the server takes as `--conf KEY VALUE`; a key that is not in this table is an error. Lists are separated
by commas. Made by `python scripts/write_reference.py`.

| setting | default | meaning |
|---|---|---|
"""


def public_modules() -> list[str]:
    """Modules and packages of the library, without private ones."""
    names = [p.stem for p in LIB.glob("*.py")] + [p.parent.name for p in LIB.glob("*/__init__.py")]
    return sorted(n for n in names if not n.startswith("_") and n not in NOT_IMPORTED)


def one_line(module: ModuleType, name: str) -> str:
    """First line of a docstring, or what stands below a constant."""
    value = getattr(module, name)
    if (inspect.isclass(value) or inspect.isfunction(value)) and value.__doc__:
        return summary(value.__doc__)
    return constant_line(module, name) or f"constant: `{value!r}`".replace("|", "\\|")[:160]


def constant_line(module: ModuleType, name: str) -> str:
    """The string that stands below a constant, in its module or in a module of its package."""
    own = Path(str(module.__file__))
    files = sorted(own.parent.glob("*.py")) if own.name == "__init__.py" else [own]
    return next(filter(None, (constant_in(file, name) for file in files)), "")


def constant_in(file: Path, name: str) -> str:
    """The string that stands below a constant in one file; empty if there is none."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node, after in zip(tree.body, tree.body[1:], strict=False):
        targets = [
            t.id for t in getattr(node, "targets", [getattr(node, "target", None)]) if isinstance(t, ast.Name)
        ]
        if name in targets and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            return summary(str(after.value.value))
    return ""


def summary(text: str) -> str:
    """First paragraph of a docstring in one line, fit for a table."""
    first = re.sub(r"\s+", " ", inspect.cleandoc(text).split("\n\n")[0])
    return re.sub(r":\w+:`~?\.?([^`]+)`", r"`\1`", first).replace("``", "`").replace("|", "\\|")


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for name in public_modules():
        module = import_module(f"segtrust.{name}")
        parts.append(
            f"\n## segtrust.{name}\n\n{summary(module.__doc__ or '')}\n\n| name | what it is |\n|---|---|\n"
        )
        parts += [
            f"| `{name}.{public}` | {one_line(module, public)} |\n" for public in sorted(module.__all__)
        ]
    return "".join(parts)


def settings_page() -> str:
    """The table of settings."""
    from segtrust.label.settings import AppSettings  # noqa: PLC0415  # loads MONAI Label's part of the library

    fields = dataclasses.fields(AppSettings)
    return SETTINGS_HEAD + "".join(
        f"| `{f.name}` | {shown_default(f)} | {f.metadata['doc']} |\n" for f in fields
    )


def shown_default(field: "dataclasses.Field[object]") -> str:
    """A default as one would type it."""
    value = field.default
    if isinstance(value, tuple):
        text = ",".join(map(str, value)) or field.metadata.get("empty", "")
    else:
        text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "-"


def main() -> int:
    """Write the pages, or compare them."""
    return write_or_check((PAGES / "index.md", page()), (PAGES / "settings.md", settings_page()))


if __name__ == "__main__":
    sys.exit(main())
