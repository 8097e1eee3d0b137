"""The house: what is public, what is documented, which versions, and who may import whom."""

import ast
import configparser
import dataclasses
import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import segtrust
from segtrust.label.settings import AppSettings
from segtrust.models import find_models, open_version, shipped_models_dir

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


PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "benchmarks" / "README.md"]


@pytest.mark.parametrize("page", sorted(page.relative_to(ROOT).as_posix() for page in PAGES))
def test_links_between_pages_lead_somewhere(page):
    text = (ROOT / page).read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert ((ROOT / page).parent / target).exists(), target


def test_every_module_has_its_place_in_the_rings():
    rings = SETUP["importlinter:contract:rings"]["layers"]
    placed = set(re.split(r"[\s|]+", rings.strip()))
    modules = {p.stem for p in LIB.glob("*.py")} | {p.parent.name for p in LIB.glob("*/__init__.py")}
    assert placed == modules - {"__init__", "__main__"}


TESTS = ROOT / "tests"
TEST_THE_WHOLE = {"browser", "pacs", "papers", "server", "slicer3d"}
OF_NO_MODULE = {
    # of the project
    *(
        "test_administrator.py",
        "test_attacks.py",
        "test_benchmarks.py",
        "test_containerfile.py",
        "test_docs.py",
    ),
    *("test_house.py", "test_packages.py", "test_rounds_page.py", "test_simulation_page.py"),
    # of what several modules of a room keep together
    "cli/test_volumes.py",
    "files/test_doors.py",
    "files/test_places.py",
    "inference/test_geometry.py",
    "inference/test_out_of_memory.py",
    "inference/test_views.py",
    "label/test_disks.py",
    "quality/test_likeness.py",
    "quality/test_mapie.py",
    "release/test_kills.py",
    "release/test_nnunet_command.py",
    "training/test_stochastic_head.py",
}


def places_of_modules():
    """Each test file outside the rooms that test the whole, with the paths of a module that it can be of."""
    for path in sorted(TESTS.rglob("test_*.py")):
        name = path.relative_to(TESTS)
        if name.parts[0] not in TEST_THE_WHOLE:
            place, stem = LIB / name.parent, path.stem.removeprefix("test_")
            yield name.as_posix(), (place / f"{stem}.py", place / f"_{stem}.py", place / stem / "__init__.py")


def test_each_test_file_stands_where_its_module_stands():
    without = {name for name, modules in places_of_modules() if not any(m.is_file() for m in modules)}
    assert without == OF_NO_MODULE


def test_what_tests_share_lies_with_the_helpers():
    names = {path.stem for path in (TESTS / "helpers").iterdir()}
    assert names >= {"live_server", "phantoms", "writers", "attacks"}
    assert {path.name for path in TESTS.glob("*.py") if not path.name.startswith("test_")} == {"conftest.py"}
    rooms = {path.name for path in TESTS.iterdir() if path.is_dir()} - {"helpers"} | {"conftest", "tests"}
    across = re.compile(rf"^\s*(?:from|import) (?:test_\w+|{'|'.join(sorted(rooms))})\b", re.M)
    assert [p.name for p in TESTS.rglob("*.py") if across.search(p.read_text("utf-8"))] == []


def test_nothing_asks_a_registry_for_segtrust_which_is_on_none():
    pages = [
        *ROOT.glob("*.md"),
        *ROOT.glob("**/docs/**/*.md"),
        *ROOT.glob("*apps/**/*.md"),
        *LIB.glob("**/*.py"),
    ]
    asking = re.compile(r"""pip install (-\S+ (\S+ )?)*['"]?segtrust\b""")
    assert asking.search("pip install -c constraints.txt 'segtrust[label]'")
    assert not [p.relative_to(ROOT).as_posix() for p in pages if asking.search(p.read_text("utf-8"))]


def test_what_is_installed_by_a_line_of_the_docs_is_an_extra():
    extras = set(SETUP["options.extras_require"])
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("*apps/**/*.md")]
    named = {
        extra
        for page in pages
        for group in re.findall(r"pip install [^\n]*['\"]\.\[([\w,]+)\]", page.read_text("utf-8"))
        for extra in group.split(",")
    }
    assert {"label", "readers"} <= named <= extras


def test_the_citation_names_this_version_and_the_four_papers():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == segtrust.__version__
    first = [(paper["authors"][0]["family-names"], paper["year"]) for paper in citation["references"]]
    assert first == [("Mehrtash", 2020), ("Fassio", 2024), ("Some", 2024), ("Monteiro", 2020)]


def test_the_workflow_and_the_hook_call_the_scripts():
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    steps = [step.get("run") for step in workflow["jobs"]["test"]["steps"]]
    assert steps[-1] == "scripts/test"
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))
    assert [hook["entry"] for repo in hooks["repos"] for hook in repo["hooks"]] == ["scripts/check --quick"]


def test_issue_templates_have_ten_lines_at_most():
    for template in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md"):
        lines = [line for line in template.read_text("utf-8").splitlines() if line]
        assert len(lines) <= 10, template.name
        assert lines[0] == "---"


def test_a_stranger_finds_commands_own_model_and_limits_on_the_first_screen():
    screen = "\n".join(README.splitlines()[:40])
    for words in (
        "For groups who",
        "docs/images/demo.png",
        "scripts/demo",
        "scripts/test",
        "Your own model",
        "Limits",
    ):
        assert words in screen, words


def test_the_answer_in_the_readme_is_one_of_this_release():
    (block,) = re.findall(r"^```json\n(.*?)^```", README, re.M | re.S)
    answer = json.loads(block)
    assert answer["model"] == "hippocampus"
    shipped = open_version(find_models(shipped_models_dir())["hippocampus"])
    assert shipped.digest.startswith(answer["digest"])
    reference = (ROOT / "docs" / "reference" / "answers.md").read_text("utf-8")
    assert all(f"`{key}`" in reference for key in answer)


def test_command_of_ci_is_the_one_in_the_readme():
    commands = [
        line for line in (ROOT / ".ci" / "run").read_text("utf-8").splitlines() if line.startswith("exec")
    ]
    assert commands == ["exec scripts/test"]


def test_keys_of_requests_are_read_in_one_place():
    # a training's options are read into its own settings by `round_settings`; the batch route compares types
    allowed = {"requests.py", "training/trainer.py", "routes/inference.py"}
    reading = re.compile(r"\brequest(?:\.get\(|\.pop\()")
    room = LIB / "label"
    readers = {
        p.relative_to(room).as_posix() for p in room.rglob("*.py") if reading.search(p.read_text("utf-8"))
    }
    assert readers == allowed
