"""The command line: each subcommand is a module of its own, loaded when it is called."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

import segtrust
from segtrust.errors import SegtrustError, install_line

__all__ = ["main"]

# subcommand -> module here, what it does, extra that holds what it imports
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "adopt": ("adopt", "make a model of what nnU-Net, or another program, trained", "nets"),
    "audit": ("audit", "check, print and prune the audit trail of a site", "label"),
    "calibrate": ("calibrate", "fit a calibrator to probability volumes, without retraining", "readers"),
    "compare": (
        "compare",
        "compare two measured sets of the same scans, without running them again",
        "readers",
    ),
    "demo": ("demo.command", "the main job from end to end: serve, segment, rank, write a page", "demo"),
    "drift": ("drift", "say whether a site's scans still come like those of the calibration", "label"),
    "evaluate": ("evaluate", "measure how far probabilities can be trusted, and write a page", "readers"),
    "flag": ("flag", "flag the voxels of probability volumes that may be wrong", "readers"),
    "forget": ("forget", "delete all that a site has of one patient", "label"),
    "labels": ("labels", "list, restore and prune labels that were replaced or deleted", "label"),
    "report": ("report", "write the page of an evaluation again, from its JSON", "report"),
    "score": ("score", "score the scans of a studies folder without a server, in parallel", "label"),
    "serve": ("serve", "start MONAI Label with models that another program trained", "label"),
    "simulate": ("simulate", "replay active learning on labelled scans: would it have paid?", "report"),
    "train": ("train", "train, calibrate and measure a model on labelled scans", "nets"),
    "users": ("users", "add and remove who may log in at the server, and keys for programs", "label"),
    "versions": ("versions", "list the models at hand and show what a version is made of", "nets"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: words after the program's name; those of the process by default.

    Returns:
        The exit status: 0 done, 1 failed, 2 asked wrongly or something is not installed, 130 interrupted.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    top = _top_parser()
    if not words:
        top.print_help()
        return 2
    command = top.parse_args(words[:1]).command
    module_name, summary, extra = _COMMANDS[command]
    try:
        module = import_module(f"segtrust.cli.{module_name}")
        parser = argparse.ArgumentParser(prog=f"segtrust {command}", description=f"{summary}.".capitalize())
        module.add_arguments(parser)
        status: int = module.run(parser.parse_args(words[1:]))
    except ModuleNotFoundError as error:
        package = (error.name or "segtrust").partition(".")[0]
        if package == "segtrust":
            raise
        extra = "label" if package == "monailabel" else extra  # `train` needs it for a site's round alone
        return _complain(f"`{command}` needs {error.name}, which is not installed: {install_line(extra)}", 2)
    except SegtrustError as error:
        return _complain(str(error), 1)
    except KeyboardInterrupt:
        return _complain("stopped.", 130)
    return status


def _top_parser() -> argparse.ArgumentParser:
    lines = "\n".join(f"  {name:<10} {summary}" for name, (_, summary, _) in _COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="segtrust",
        description="Segmentations that say where not to trust them.",
        epilog=f"commands:\n{lines}\n\n`segtrust COMMAND --help` says more about one.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"segtrust {segtrust.__version__}")
    parser.add_argument("command", choices=_COMMANDS, metavar="COMMAND")
    return parser


def _complain(text: str, status: int) -> int:
    print(f"segtrust: {text}", file=sys.stderr)
    return status
