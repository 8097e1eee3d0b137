"""Writes docs/reference/bundles.md: which bundles of MONAI's model zoo are adopted, and why others are not.

`python scripts/write_bundles.py FOLDER [--check]`, where FOLDER holds a folder with `metadata` and
`inference` per bundle; unless given `../shared/data/model_zoo_configs`. `--check` writes nothing and fails if
the page is out of date.
"""

import sys
from pathlib import Path

from segtrust.adapters.bundle import read_configuration
from segtrust.errors import ModelError
from segtrust.experiments.pages import write_or_check
from segtrust.inference.members import build_network
from segtrust.models import ModelSpec

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reference" / "bundles.md"
ZOO = ROOT.resolve().parent / "shared" / "data" / "model_zoo_configs"
_ADVICE = " Export the network"
HEAD = """# Bundles of MONAI's model zoo

Each row is the configuration of a segmentation bundle (model zoo, October 2024), given to the code that
`segtrust adopt` reads bundles with, and noted with what came of it; the network of an adopted one was built.
Made by `python scripts/write_bundles.py`. [How to adopt a bundle](../how-to/bundles.md).
"""


def main() -> int:
    """Write or check the page."""
    given = [Path(word) for word in sys.argv[1:] if not word.startswith("--")]
    folders = sorted(path for path in (given[0] if given else ZOO).iterdir() if path.is_dir())
    rows = [row(folder) for folder in folders]
    count = sum(adopted for adopted, _ in rows)
    table = [
        f"{count} of {len(rows)} are adopted.",
        "",
        "| bundle | adopted | as what, or what is in the way |",
        "|---|---|---|",
        *(line for _, line in rows),
    ]
    return write_or_check((PAGE, "\n".join([HEAD, *table, ""])))


def row(folder: Path) -> tuple[bool, str]:
    """What comes of one bundle."""
    try:
        spec, remarks, _ = read_configuration(folder, name="zoo")
        build_network(spec)
    except ModelError as error:
        reason = str(error).partition(_ADVICE)[0].replace(f"{folder}/", "").replace("|", "\\|")
        return False, f"| `{folder.name}` | no | {reason} |"
    return True, f"| `{folder.name}` | yes | {'. '.join([described(spec), *remarks])} |"


def described(spec: ModelSpec) -> str:
    """The specification in a line."""
    grid = (
        "the file's own voxels"
        if spec.spacing is None
        else " x ".join(f"{mm:g}" for mm in spec.spacing) + " mm"
    )
    way = [spec.intensity.method.replace("_", " ")] if spec.intensity.method != "none" else []
    if spec.intensity.rescale is not None:
        way.append("least to largest value to {:g} to {:g}".format(*spec.intensity.rescale))
    crop = "" if spec.foreground is None else f"; cropped to what is above {spec.foreground.above:g}"
    name = str(spec.network["_target_"]).rpartition(".")[2]
    return (
        f"{name}, {len(spec.labels)} structure{'s' * (len(spec.labels) != 1)}, {grid}"
        f"{', ' + spec.orientation if spec.orientation else ''}; {', then '.join(way)}{crop}; windows of "
        f"{' x '.join(map(str, spec.patch))}, {spec.windows.blending}"
    )


if __name__ == "__main__":
    sys.exit(main())
