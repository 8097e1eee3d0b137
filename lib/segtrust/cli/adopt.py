"""`segtrust adopt`: one command from what another program trained to a model that is served."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from segtrust.adapters import volume_files
from segtrust.adapters.auto3dseg import is_auto3dseg, read_auto3dseg
from segtrust.adapters.bundle import is_bundle, read_bundle
from segtrust.adapters.networks import SUFFIXES
from segtrust.adapters.nnunet_results import NnunetResults, is_nnunet, read_nnunet
from segtrust.adapters.torchscript import is_torchscript
from segtrust.cli.calibrate_model import labelled_scans
from segtrust.cli.failures import Failures
from segtrust.cli.recorded import record_version
from segtrust.errors import ModelError, SegtrustError, SettingError
from segtrust.files.channels import group_channels
from segtrust.inference.stored import STORED
from segtrust.models import ModelSpec, ModelVersion
from segtrust.release.adopt import adopt_again, adopt_nnunet
from segtrust.release.adopt_network import adopt_auto3dseg, adopt_networks, adopt_volumes
from segtrust.store.place import state_dir_for

__all__ = ["add_arguments", "adopt", "default_name", "run"]

_RAW = "nnUNet_raw"
_EXPORTED = "segtrust.adapters.networks.ExportedNetwork"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust adopt`."""
    parser.add_argument(
        "path",
        type=Path,
        help="results of nnU-Net 2 (a dataset, or TRAINER__PLANS__CONFIGURATION in it), a MONAI bundle, a "
        "work folder of Auto3DSeg, a network as .pt2, .onnx or TorchScript, or a folder of probabilities",
    )
    parser.add_argument("--name", default="", help="of the model (default: as the dataset, bundle or file)")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--models-dir",
        type=Path,
        default=Path("models"),
        metavar="DIR",
        help="folder of models (default: models)",
    )
    where.add_argument(
        "--studies",
        type=Path,
        metavar="DIR",
        help="folder of scans: the model goes into its STUDIES/.segtrust/models",
    )
    nnunet = parser.add_argument_group("of nnU-Net")
    nnunet.add_argument(
        "--configuration", default="", help="such as 3d_fullres (default: the only one, or nnU-Net's best)"
    )
    nnunet.add_argument("--folds", nargs="+", default=[], help="such as 0 1 2 (default: all that are there)")
    nnunet.add_argument(
        "--checkpoint",
        default="checkpoint_final.pth",
        help="file in each fold (default: checkpoint_final.pth)",
    )
    nnunet.add_argument(
        "--no-mirroring", action="store_true", help="up to eight times faster; masks as with --disable_tta"
    )
    nnunet.add_argument(
        "--images",
        type=Path,
        metavar="DIR",
        help="images of the training, to compare each fold with its own validation (default: "
        "nnUNet_raw/DATASET/imagesTr if it is at hand)",
    )
    nnunet.add_argument(
        "--check", type=int, default=1, metavar="N", help="scans of each fold to compare (default: 1)"
    )
    nnunet.add_argument(
        "--again",
        action="store_true",
        help="take new folds as the next version of the model; --images and --labels are then scans that no "
        "fold saw, which judge and calibrate it",
    )
    nnunet.add_argument("--labels", type=Path, metavar="DIR", help="with --again: one label map per scan")
    nnunet.add_argument("--subjects", type=Path, metavar="CSV", help="with --again: columns case and subject")
    other = parser.add_argument_group("of an exported network or probability volumes")
    other.add_argument("--spec", type=Path, help="spec.json without `network` (docs/how-to/own-model.md)")
    other.add_argument("--output", default="logits", help="what it puts out: logits or probabilities")


def run(args: argparse.Namespace) -> int:
    """Adopt, and say what is there now and what to do next.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status.
    """
    models_dir = state_dir_for(str(args.studies)) / "models" if args.studies else args.models_dir
    if args.again:
        return _again(args, models_dir)
    version = adopt(args, models_dir)
    record_version(models_dir / version.spec.name, "publication", version)
    spec = version.spec
    count = len(version.members)
    print(f"{spec.name} {version.id}: {count} member{'s' * (count != 1)}, {models_dir / spec.name}")
    print(
        f"structures: {', '.join(label.name for label in spec.labels)}; channels: {', '.join(spec.channels)}"
    )
    if count == 1:
        print(
            "One member: nothing is known between members. The map shows what this one network doubts, and "
            "pairwise Dice, votes and a part of the likeness are missing."
        )
    print(
        f"not calibrated yet: segtrust calibrate --model {spec.name} --models-dir {models_dir} --images DIR "
        "--labels DIR"
    )
    return 0


def _again(args: argparse.Namespace, models_dir: Path) -> int:
    if args.images is None or args.labels is None:
        raise SettingError(
            "--again must come with --images and --labels of scans that no fold saw, got neither."
        )
    results = read_nnunet(
        args.path, configuration=args.configuration, folds=args.folds, checkpoint=args.checkpoint
    )
    failures = Failures()
    version, reason = adopt_again(
        results,
        models_dir / (args.name or default_name(results.folder)),
        labelled_scans(args.images, args.labels, args.subjects),
        images=_images(None, results),
        check=args.check,
        say=_say,
        survive=failures.survive,
    )
    failures.tell()
    record_version(models_dir / version.spec.name, "version made", version, {"status": reason})
    print(f"{version.spec.name} {version.id} {reason}")
    return failures.status


def adopt(args: argparse.Namespace, models_dir: Path) -> ModelVersion:
    """Recognise what lies at a path, and adopt it.

    Args:
        args: options of :func:`add_arguments`.
        models_dir: folder of models.

    Returns:
        The version.

    Raises:
        ModelError: if it is none of the kinds, or cannot be used; nothing is published then.
    """
    path: Path = args.path
    if is_nnunet(path):
        results = read_nnunet(
            path, configuration=args.configuration, folds=args.folds, checkpoint=args.checkpoint
        )
        _remark(results.remarks)
        return adopt_nnunet(
            results,
            models_dir,
            name=args.name or default_name(results.folder),
            mirroring=not args.no_mirroring,
            images=_images(args.images, results),
            scans=args.check,
            say=_say,
        )
    name = args.name or default_name(path)
    if is_bundle(path):
        bundle = read_bundle(path, name=name)
        _remark(bundle.remarks)
        source = f"MONAI bundle {path.resolve().name}"
        return adopt_networks(bundle.spec, bundle.weights, models_dir, source=source, remarks=bundle.remarks)
    if is_auto3dseg(path):
        spec, trained, remarks = read_auto3dseg(
            path, name=name, algorithm=args.configuration, folds=args.folds
        )
        _remark(remarks)
        return adopt_auto3dseg(spec, trained, models_dir, remarks=remarks)
    if path.is_file() and (path.suffix in SUFFIXES or is_torchscript(path)):
        network = {"_target_": _EXPORTED, "output": args.output}
        spec = _described(args, network=network, members=1)
        return adopt_networks(spec, [path], models_dir, source=f"exported network {path.name}")
    if _holds_volumes(path):
        return adopt_volumes(_described(args, network={"_target_": STORED}, members=0), path, models_dir)
    raise ModelError(f"{_what(path)}. What can be adopted: {_KINDS}")


def _described(args: argparse.Namespace, **more: Any) -> ModelSpec:  # noqa: ANN401  # fields of the specification
    """What `--spec` says, which no file says of itself."""
    if args.spec is None:
        raise SettingError(
            f"{args.path} does not say its labels, channels and spacing: give them as --spec FILE "
            "(docs/how-to/own-model.md)."
        )
    document = _document(args.spec)
    name = args.name or document.get("name") or default_name(args.path)
    return ModelSpec.from_json({**document, **more, "name": name})


def _holds_volumes(path: Path) -> bool:
    try:
        return path.is_dir() and not (path / "spec.json").is_file() and bool(volume_files(path))
    except SegtrustError:
        return False


def _remark(remarks: Sequence[str]) -> None:
    for remark in remarks:
        print(remark)


_KINDS = (
    "results of nnU-Net 2 (DatasetXXX_NAME, or TRAINER__PLANS__CONFIGURATION with plans.json, dataset.json "
    "and fold_N/checkpoint_final.pth), a MONAI bundle (configs/metadata, configs/inference, models), a "
    "work folder of Auto3DSeg (segresnet_N/model/model.pt), a network that torch.export (.pt2), ONNX (.onnx) "
    "or TorchScript wrote, a folder of probability volumes."
)


def _what(path: Path) -> str:
    if not path.exists():
        return f"there is nothing at {path}"
    if (path / "spec.json").is_file():
        return f"{path} is a model folder of segtrust already; serve it with --conf models_dir {path.parent}"
    if path.suffix in (".pth", ".pt", ".ckpt", ".safetensors"):
        return (
            f"{path} holds weights alone, which do not say what network they belong to; give the folder that "
            "its program wrote, or export the network with torch.export.save"
        )
    return f"{path} is none of the kinds that are recognised"


def _images(given: Path | None, results: NnunetResults) -> Mapping[str, tuple[Path, ...]]:
    dataset = results.folder.resolve().parent.name
    raw = os.environ.get(_RAW) or results.folder.resolve().parents[2] / _RAW
    for place in [given] if given else [Path(raw) / dataset / "imagesTr"]:
        if place.is_dir():
            return group_channels(path for path in place.iterdir() if path.is_file())
    if given:
        raise SettingError(f"--images must name a folder, got {given}.")
    return {}


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} must be a JSON file, but {error}.") from error
    if not isinstance(document, dict):
        raise ModelError(f"{path} must hold a JSON object, got {type(document).__name__}.")
    return document


def default_name(path: Path) -> str:
    """What a model is called unless somebody says otherwise.

    Args:
        path: a configuration of nnU-Net, whose dataset gives the name; a bundle, or a file.

    Returns:
        Letters, digits, - and _.

    Example:
        >>> default_name(Path("nnUNet_results/Dataset004_Hippocampus/nnUNetTrainer__nnUNetPlans__2d"))
        'Dataset004_Hippocampus'
    """
    whole = path.resolve()
    name = whole.parent.name if whole.name.count("__") == 2 else whole.name.partition(".")[0]
    letters = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name).strip("-_")
    return letters[:64] or "adopted"


def _say(line: str) -> None:
    print(line, flush=True)
