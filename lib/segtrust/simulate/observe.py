"""What the networks of a round say: about unlabelled scans to the strategies, about judged scans to us."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from segtrust._binning import Bins
from segtrust.decisions import labels_from_probs
from segtrust.errors import ScanError
from segtrust.inference import Predictor
from segtrust.inference.flags import input_flags
from segtrust.inference.members import load_member
from segtrust.inference.scan import fingerprint, prepare, read_scan
from segtrust.metrics.bootstrap import finite_or_none
from segtrust.metrics.overlap import dice_per_structure
from segtrust.metrics.voxels import VoxelTotals, voxel_totals
from segtrust.models import ModelVersion
from segtrust.regions import distance_to, in_band
from segtrust.selection import Candidate, make_candidate
from segtrust.simulate.epistemic import monai_label_score
from segtrust.store import ScoreKey, StateStore, StoredScore
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = ["Observer", "totals_from_json"]

_BINS = 15
_Ask = Callable[[str, Path], dict[str, Any]]


@dataclass(frozen=True)
class Observer:
    """Asks one ensemble; every answer is kept in a state file and never computed twice.

    Args:
        version: the ensemble.
        store: keeps the answers.
    """

    version: ModelVersion
    store: StateStore

    def candidates(self, images: Mapping[str, Path], subjects: Mapping[str, str]) -> list[Candidate]:
        """What the strategies may know, from a prediction of each scan.

        Args:
            images: scan -> file; no label is given.
            subjects: scan -> subject.

        Returns:
            One candidate per scan; a scan that cannot be read, or is unlike the training scans, says so.
        """
        predictor = Predictor(self.version)
        answers = self._answers("prediction", images, lambda _scan, path: _facts(predictor, path))
        return [make_candidate(scan, subjects[scan], answers[scan]) for scan in images]

    def inputs(self, images: Mapping[str, Path], subjects: Mapping[str, str]) -> list[Candidate]:
        """Like :meth:`candidates` without running a network: only whether the file looks right."""
        answers = self._answers("input", images, self._input)
        return [make_candidate(scan, subjects[scan], answers[scan], scored=False) for scan in images]

    def monai_label(self, images: Mapping[str, Path]) -> dict[str, float | None]:
        """MONAI Label's score of each scan, from the first member; ``None`` for a scan that fails."""
        spec = self.version.spec
        network = load_member(spec, self.version.members[0])

        def score(_scan: str, path: Path) -> dict[str, Any]:
            prepared = prepare(read_scan(path, channels=len(spec.channels)), spec)
            return {"score": monai_label_score(network, prepared.image, spec)}

        return {scan: answer.score for scan, answer in self._answers("monai_label", images, score).items()}

    def judged(self, files: Iterable[LabelledFiles]) -> list[dict[str, Any]]:
        """Dice per structure and voxel totals per region of labelled scans, uncalibrated mean."""
        by_id = {each.id: each for each in files}
        predictor = Predictor(self.version)
        answers = self._answers(
            "evaluation",
            {scan: each.image for scan, each in by_id.items()},
            lambda scan, _path: {"details": _judge(predictor, by_id[scan])},
        )
        return [{"scan": scan, "subject": by_id[scan].subject, **answers[scan].details} for scan in by_id]

    def _input(self, _scan: str, path: Path) -> dict[str, Any]:
        spec = self.version.spec
        return {
            "flags": tuple(vars(f) for f in input_flags(read_scan(path, channels=len(spec.channels)), spec)),
        }

    def _answers(self, kind: str, images: Mapping[str, Path], ask: _Ask) -> dict[str, StoredScore]:
        stored = self.store.scores(self.version.digest, kind)
        for scan, path in images.items():
            if scan in stored:
                continue
            key = ScoreKey(
                scan_id=scan,
                fingerprint=fingerprint(path),
                version_digest=self.version.digest,
                settings_digest=kind,
            )
            try:
                answer = ask(scan, path)
            except ScanError as error:
                answer = {"error": str(error)}
            self.store.put_score(StoredScore(key=key, **answer))
        return self.store.scores(self.version.digest, kind)


def _facts(predictor: Predictor, path: Path) -> dict[str, Any]:
    prediction = predictor.predict(path)
    return {
        "score": prediction.scores.entropy,
        "details": prediction.selection_facts(),
        "flags": tuple(vars(flag) for flag in prediction.flags),
    }


def _judge(predictor: Predictor, files: LabelledFiles) -> dict[str, Any]:
    spec = predictor.spec
    scan, labels = read_pair(files, spec)
    prepared, statistics, _ = predictor.sample(scan)
    mask = labels_from_probs(statistics.mean).numpy()
    near, valid = in_band(distance_to(mask > 0, scan.spacing)), prepared.valid
    band, outside = (
        voxel_totals(statistics.mean, labels, torch.from_numpy(where))
        for where in (near & valid, ~near & valid)
    )
    regions = {"band": band, "outside": outside, "volume": band + outside}
    dice = dice_per_structure(mask, labels.numpy(), len(spec.labels)).tolist()
    return {
        "dice": [finite_or_none(value) for value in dice],
        "totals": {region: totals_to_json(totals) for region, totals in regions.items()},
    }


def totals_to_json(totals: VoxelTotals) -> dict[str, Any]:
    """Totals with 15 bins of the top label, without those of the classes."""
    bins = totals.bins.coarsen(_BINS)
    return VoxelTotals(totals.n, totals.nll, totals.brier, bins).to_json()


def totals_from_json(document: dict[str, Any]) -> VoxelTotals:
    """Read what :func:`totals_to_json` wrote."""
    return VoxelTotals(document["n"], document["nll"], document["brier"], Bins.from_json(document["bins"]))
