"""Reads `docs/how-to/Containerfile` and follows it in a folder, without a container program."""

import json
import os
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CONTAINERFILE", "Image", "instructions"]

ROOT = Path(__file__).parents[2]
CONTAINERFILE = ROOT / "docs" / "how-to" / "Containerfile"
_PATHS = re.compile(r"(?<![\w.-])/(?=(opt/segtrust|srv/app|src|state|studies)\b)")


def instructions():
    """All instructions in order: pairs of the word and what follows, lines put together."""
    text = re.sub(r"^\s*#.*\n", "", CONTAINERFILE.read_text("utf-8"), flags=re.M).replace("\\\n", " ")
    return [tuple(line.split(maxsplit=1)) for line in text.splitlines() if line.strip()]


@dataclass
class Image:
    """What the instructions make, with the image's own folders under ``root`` and the host's programs.

    Both stages share one root, so what is copied between them is there already; sources go away in between.
    """

    root: Path
    environment: dict[str, str]
    folder: Path = field(init=False)
    said: dict[str, str] = field(default_factory=dict)

    def build(self):
        for word, rest in instructions():
            getattr(self, f"_{word.lower()}", lambda rest, word=word: self.said.update({word: rest}))(rest)

    def command(self):
        """Words that start the server."""
        return [self.inside(w) for key in ("ENTRYPOINT", "CMD") for w in json.loads(self.said[key])]

    def health_check(self):
        """Words that ask whether the server is well."""
        return json.loads(self.said["HEALTHCHECK"].split("CMD", 1)[1])

    def inside(self, text):
        """The text with the image's own folders moved under ``root``."""
        return _PATHS.sub(f"{self.root}/", text)

    def _from(self, rest):
        shutil.rmtree(self.root / "src", ignore_errors=True)
        self.folder = self.root
        self.stage = dict(self.environment)

    def _workdir(self, rest):
        self.folder = Path(self.inside(rest))
        self.folder.mkdir(parents=True, exist_ok=True)

    def _env(self, rest):
        for pair in shlex.split(rest):
            name, value = pair.split("=", 1)
            self.stage[name] = self.inside(value.replace(f"${name}", self.stage.get(name, "")))

    def _copy(self, rest):
        if rest.startswith("--from=build "):
            source, target = rest.split()[1:]
            assert source == target, "both stages must have it in one place"
            assert Path(self.inside(target)).exists()
            return
        *sources, target = rest.split()
        for source in sources:
            if (ROOT / source).is_dir():
                ignore = shutil.ignore_patterns("__pycache__", "*.egg-info")
                shutil.copytree(ROOT / source, self.folder / target, ignore=ignore)
            else:
                shutil.copy(ROOT / source, self.folder / target)

    def _run(self, rest):
        (self.root / "srv").mkdir(exist_ok=True)
        subprocess.run(self.inside(rest), shell=True, check=True, cwd=self.folder, env=self.stage)


def clean_environment(python):
    """This process's environment without traces of its own Python, and ``python`` first on PATH."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "SEGTRUST"))}
    # a compiler that is called fails: the base image has none
    return kept | {"PATH": f"{python}:/usr/local/bin:/usr/bin:/bin", "CC": "false", "CXX": "false"}
