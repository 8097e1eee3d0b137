"""The house: what is public, what is documented, which versions, and who may import whom."""

import ast
import configparser
import dataclasses
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import segtrust
from segtrust.label.settings import AppSettings

ROOT = Path(__file__).parents[1]
LIB = ROOT / "lib" / "segtrust"
README = (ROOT / "README.md").read_text("utf-8")
SETTINGS = (ROOT / "docs/reference/settings.md").read_text("utf-8")
SETUP = configparser.ConfigParser(interpolation=None)
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def requirements():
    texts = [SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()]
    lines = [line for text in texts for line in text.splitlines() if line and not line.startswith("#")]
    return [r for r in map(Requirement, lines) if r.name != "segtrust"]


def constraints():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    exact = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in exact}


def test_import_needs_neither_monai_nor_monailabel():
    code = "import sys, segtrust; print({'monai', 'monailabel', 'torch', 'itk'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", segtrust.__all__)
def test_table_of_contents_leads_to_what_it_names(name):
    assert getattr(segtrust, name) is not None


def test_unknown_public_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"no attribute 'Predicter'.*Predictor"):
        segtrust.Predicter  # noqa: B018


def test_type_checkers_and_python_see_the_same_table_of_contents():
    tree = ast.parse((LIB / "__init__.py").read_text("utf-8"))
    typed = {
        alias.name: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert typed == {name: f"segtrust.{module}" for name, module in segtrust._HOME.items()}
    assert set(segtrust.__all__) == {*typed, "__version__"}


def test_installed_version_is_the_source_version():
    assert metadata.version("segtrust") == segtrust.__version__


def test_changelog_knows_the_version():
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert "## Unreleased" in changelog or f"## {segtrust.__version__}" in changelog


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_exact_versions_lie_in_the_ranges(requirement):
    assert requirement.specifier.contains(constraints()[canonicalize_name(requirement.name)])


@pytest.mark.parametrize(
    "requirement", [r for r in requirements() if "<" in str(r) or "==" in str(r)], ids=str
)
def test_every_upper_bound_has_its_reason_beside_it(requirement):
    lines = (ROOT / "setup.cfg").read_text("utf-8").splitlines()
    places = [k for k, line in enumerate(lines) if line.strip() == str(requirement).replace(" ", "")]
    places = places or [k for k, line in enumerate(lines) if line.strip().startswith(requirement.name)]
    assert any(lines[k - 1].strip().startswith("#") for k in places)


def test_environment_of_the_scripts_has_the_exact_versions():
    for name, version in constraints().items():
        try:
            installed = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue  # a constraint binds only what is installed
        assert installed.partition("+")[0] == version, name


def test_the_table_of_settings_holds_them_with_their_meaning():
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*?) \|$", SETTINGS, re.M))
    fields = {field.name: field.metadata["doc"] for field in dataclasses.fields(AppSettings)}
    assert rows == fields


def test_the_table_of_settings_holds_the_defaults():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", SETTINGS, re.M))
    for field in dataclasses.fields(AppSettings):
        shown = rows[field.name].strip("`")
        assert (
            getattr(AppSettings.from_conf({field.name: shown} if shown != "-" else {}), field.name)
            == field.default
        )


def test_readme_names_both_commands_and_its_pictures_exist():
    assert "scripts/demo" in README
    assert "scripts/test" in README
    pictures = re.findall(r"\]\(([^)#]+\.png)\)", README)
    assert pictures
    assert all((ROOT / picture).is_file() for picture in pictures)


@pytest.mark.parametrize("page", sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/**/*.md")))
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_module_has_its_place_in_the_rings():
    rings = SETUP["importlinter:contract:rings"]["layers"]
    placed = set(re.split(r"[\s|]+", rings.strip()))
    modules = {p.stem for p in LIB.glob("*.py")} | {p.parent.name for p in LIB.glob("*/__init__.py")}
    assert placed == modules - {"__init__", "__main__"}


def test_command_of_ci_is_the_one_in_the_readme():
    commands = [
        line for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if line.startswith("exec")
    ]
    assert commands == ["exec scripts/test"]
