"""Networks and probabilities of another program as a model folder: loaded and tried before they are there."""

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segtrust.adapters.auto3dseg import Auto3dsegFold
from segtrust.adapters.networks import SUFFIXES
from segtrust.adapters.torchscript import is_torchscript, write_program
from segtrust.errors import ModelError
from segtrust.evaluate.records import software_versions
from segtrust.inference.members import build_network, load_member, save_weights
from segtrust.inference.stored import STORED
from segtrust.inference.trial import made_up_window, try_members, try_volumes
from segtrust.models import ModelSpec, ModelVersion, open_version, publish_version

__all__ = ["UNCALIBRATED", "adopt_auto3dseg", "adopt_networks", "adopt_volumes", "refuse_existing"]

_WORDS = 300  # PyTorch lists every key that does not fit

UNCALIBRATED: Mapping[str, Any] = {"calibrator": {"name": "identity"}}
"""Content of ``calibration.json`` of a model that nobody calibrated yet."""


def adopt_networks(
    spec: ModelSpec, members: Sequence[Path], models_dir: Path, *, source: str, remarks: Sequence[str] = ()
) -> ModelVersion:
    """Make a model folder of exported networks, or of a bundle's weights, which become safetensors.

    Args:
        spec: what the model is.
        members: their files.
        models_dir: folder of models.
        source: where they come from, for the card.
        remarks: what is otherwise than where they come from, for the card.

    Returns:
        The version, not calibrated.

    Raises:
        ModelError: if a member cannot be loaded, puts out something else than ``spec`` says, or a prediction
            fails; or if there is such a model; then nothing is published.
    """
    refuse_existing(models_dir / spec.name)
    with tempfile.TemporaryDirectory(prefix="adopt-") as work:
        files = [_plain_member(spec, path, Path(work) / str(index)) for index, path in enumerate(members)]
        try_members(spec, files, UNCALIBRATED)
        card = _card(spec, source, remarks)
        return publish_version(models_dir / spec.name, spec, files, UNCALIBRATED, card)


def _card(spec: ModelSpec, source: str, remarks: Sequence[str]) -> dict[str, Any]:
    return {
        "name": spec.name,
        "parent": None,
        "made_by": "segtrust adopt",
        "source": {"program": source},
        "remarks": list(remarks),
        "software": software_versions(),
    }


def adopt_auto3dseg(
    spec: ModelSpec, folds: Sequence[Auto3dsegFold], models_dir: Path, *, remarks: Sequence[str] = ()
) -> ModelVersion:
    """Make a model folder of what Auto3DSeg trained.

    Args:
        spec: of :func:`segtrust.adapters.auto3dseg.read_auto3dseg`, as the folds.
        folds: each is a member.
        models_dir: folder of models.
        remarks: for the card.

    Returns:
        The version, not calibrated.

    Raises:
        ModelError: as :func:`adopt_networks`.
    """
    refuse_existing(models_dir / spec.name)
    with tempfile.TemporaryDirectory(prefix="adopt-") as work:
        files = []
        for fold in folds:
            network = build_network(spec)
            try:
                network.load_state_dict(dict(fold.weights))
            except RuntimeError as error:
                reason = " ".join(str(error).split())[:_WORDS]
                raise ModelError(
                    f"{fold.path} must fit the network of its own `config`, but {reason}."
                ) from error
            files.append(Path(work) / f"{fold.fold}.safetensors")
            save_weights(network, files[-1])
        return adopt_networks(spec, files, models_dir, source="Auto3DSeg", remarks=remarks)


def adopt_volumes(spec: ModelSpec, volumes: Path, models_dir: Path) -> ModelVersion:
    """Make a model folder of probabilities that another program wrote, one volume per scan.

    Args:
        spec: what the model is; its network is replaced.
        volumes: folder of them, in a form of ``segtrust evaluate``.
        models_dir: folder of models.

    Returns:
        The version, not calibrated; it answers for the scans whose volumes are there.

    Raises:
        ModelError: if a volume cannot be read or has other classes; or if there is such a model; then nothing
            is published.
    """
    model = models_dir / spec.name
    refuse_existing(model)
    stored = replace(spec, network={"_target_": STORED}, members=0)
    try_volumes(stored, volumes)
    made = [folder for folder in (models_dir, *models_dir.parents) if not folder.exists()]
    models_dir.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".adopt-", dir=models_dir) as work:
            whole = Path(work) / spec.name
            publish_version(whole, stored, [], UNCALIBRATED, _card(stored, "probability volumes", ()))
            shutil.copytree(volumes, whole / "volumes")
            whole.replace(model)
    except BaseException:
        for folder in made:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise
    return open_version(model)


def _plain_member(spec: ModelSpec, path: Path, copy: Path) -> Path:
    """A file that holds no pickle: a program as it is, TorchScript as a program, weights as safetensors."""
    if not path.is_file():
        raise ModelError(f"there must be a file {path} with a member of {spec.name!r}, got none.")
    if path.suffix in (*SUFFIXES, ".safetensors"):
        return path
    if is_torchscript(path):
        program = copy.with_suffix(".pt2")
        write_program(path, made_up_window(spec), program)
        return program
    save_weights(load_member(spec, path), copy.with_suffix(".safetensors"))
    return copy.with_suffix(".safetensors")


def refuse_existing(model: Path) -> None:
    """Refuse to publish over a model that is there.

    Raises:
        ModelError: if there is one.
    """
    if (model / "current").is_file():
        raise ModelError(
            f"{model} holds a model already. Give another --name, or take new folds of nnU-Net as its next "
            "version with --again."
        )
