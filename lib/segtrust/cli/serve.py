"""`segtrust serve`: adopt what is named, then start MONAI Label with it; the long form stays what it was."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from segtrust.adapters.nnunet_results import is_nnunet, read_nnunet
from segtrust.cli.adopt import add_arguments as add_adopt_arguments
from segtrust.cli.adopt import adopt, default_name
from segtrust.cli.demo.label_server import sample_app
from segtrust.cli.options import add_conf
from segtrust.errors import SettingError
from segtrust.store.place import state_dir_for

__all__ = ["add_arguments", "run", "server_command"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust serve`."""
    parser.add_argument(
        "path",
        type=Path,
        nargs="+",
        help="what `segtrust adopt` takes, or a model folder; what was adopted before is served as it is",
    )
    parser.add_argument("--studies", required=True, metavar="DIR", help="folder of scans, or a DICOMweb URL")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (default: this machine only)"
    )
    parser.add_argument("--port", type=int, default=8000, help="(default: 8000)")
    add_conf(parser, "a setting of the server (docs/reference/settings.md)")


def run(args: argparse.Namespace) -> int:
    """Adopt, start the server, and wait until it ends.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status of the server.

    Raises:
        SettingError: if the studies are no folder.
        ModelError: if something cannot be adopted; no server is started then.
    """
    if not args.studies.startswith(("http://", "https://")) and not Path(args.studies).is_dir():
        raise SettingError(f"--studies must name a folder, got {args.studies}.")
    models_dir = state_dir_for(args.studies) / "models"
    names = [_name(path, models_dir) for path in args.path]
    with tempfile.TemporaryDirectory(prefix="segtrust-app-") as work:
        app = Path(work) / "uncertainty"
        shutil.copytree(sample_app("uncertainty"), app, ignore=shutil.ignore_patterns("__pycache__", "logs"))
        return subprocess.call(server_command(app, args, names))


def server_command(app: Path, args: argparse.Namespace, names: list[str]) -> list[str]:
    """What is typed to start the server without this command.

    Args:
        app: folder of the app; the server writes into it.
        args: options of :func:`add_arguments`.
        names: of the models.

    Returns:
        The words of the command.
    """
    command = [sys.executable, "-m", "monailabel.main", "start_server", "--app", str(app)]
    command += ["--studies", args.studies, "--host", args.host, "--port", str(args.port)]
    for key, value in [("models", ",".join(names)), *args.conf]:
        command += ["--conf", key, value]
    return command


def _name(path: Path, models_dir: Path) -> str:
    """Name of the model that a path leads to; it is adopted, or copied, unless the site has it already."""
    if (path / "spec.json").is_file() and (path / "current").is_file():
        if not (models_dir / path.name / "current").is_file():
            shutil.copytree(path, models_dir / path.name)
        return path.name
    folder = read_nnunet(path).folder if is_nnunet(path) else path
    name = default_name(folder)
    if not (models_dir / name / "current").is_file():
        options = argparse.ArgumentParser()
        add_adopt_arguments(options)
        adopt(options.parse_args([str(path)]), models_dir)
    return name
