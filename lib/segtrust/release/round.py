"""One round on a site: labelled scans in, a version out that is served if it holds against the best one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from segtrust.adapters.nnunet_results import NNUNET
from segtrust.calibrators import Identity, calibrator_from_json
from segtrust.errors import SegtrustError, TrainingError
from segtrust.evaluate.card import make_card
from segtrust.evaluate.cases import CaseRecord, evaluate_case
from segtrust.evaluate.records import software_versions
from segtrust.inference.members import check_device
from segtrust.inference.predictor import Predictor
from segtrust.models import (
    ModelSpec,
    ModelVersion,
    adopt_version,
    best_version,
    open_version,
    publish_version,
    shipped_models_dir,
    training_lock,
)
from segtrust.release.cohort import RoundCohort, gather
from segtrust.release.gate import GateScan, GateVerdict, judge, pair_scan
from segtrust.release.plan import LabelledScan, Progress, RoundClock, RoundPlan, RoundSettings, make_plan
from segtrust.release.recalibrate import Recalibration, recalibrate
from segtrust.roles import patient_hash
from segtrust.training.cache import spent_seconds, train_members
from segtrust.training.cases import read_pair
from segtrust.training.loop import CODE

__all__ = ["RoundResult", "run_round"]

_TEST_NOTE = "ensemble: mean of the members; calibrated: what is served. ECE: 15 bins, top label."


@dataclass(frozen=True)
class RoundResult:
    """What came out of a round.

    ``status``: ``published`` (served), ``unproven`` (served, though too few patients were there to prove that
    it is no worse) or ``kept`` (on disk, not served). ``report`` is JSON: counts, scans left out and why,
    calibration, gate, seconds.
    """

    version: str | None
    status: str
    reason: str
    report: Mapping[str, Any] = field(default_factory=dict)


def run_round(
    parent: Path,
    models_dir: Path,
    labelled: Sequence[LabelledScan],
    settings: RoundSettings,
    *,
    cache: Path,
    key: bytes,
    report: Callable[[Progress], None] = lambda _progress: None,
) -> RoundResult:
    """Train a version on a site's labels, calibrate it, hold it against the best one, and serve or keep it.

    Args:
        parent: model folder of the version served now: the site's own, or a shipped one.
        models_dir: the site's folder of models; the version goes into ``<models_dir>/<name>``. A first round
            copies the parent's version there before its own.
        labelled: scans with labels and roles.
        settings: of the round.
        cache: of members; finished members and epochs are kept there, and the same round goes on from them.
        key: the site's secret, :meth:`segtrust.store.StateStore.site_key`.
        report: called after every epoch of every member and at every later step.

    Returns:
        The version and whether it is served.

    Raises:
        TrainingError: if no scan can be trained on, another round of this model runs, the disk is full, or
            the model is an nnU-Net, which learns elsewhere.
        SettingError: if the model has another number of members.
        ModelError: if the parent does not check, or ``models_dir`` has another model of that name.
        DeviceError: if the device is not there.

    Note:
        Train fits weights, calibration fits and judges, test is only written down.
    """
    base = open_version(parent)
    if base.spec.network["_target_"] == NNUNET:
        raise TrainingError(
            f"{base.spec.name!r} is an nnU-Net and learns in nnU-Net alone. Train it there (nnUNetv2_train); "
            "`segtrust adopt RESULTS --again` takes the new folds as its next version."
        )
    if base.spec.shares_values:
        raise TrainingError(
            f"a round needs regions that are nested or do not overlap, those of {base.spec.name!r} overlap "
            "otherwise. Train it elsewhere, and calibrate it here: `segtrust calibrate --model`."
        )
    device = str(check_device(settings.device))
    model = models_dir / base.spec.name
    try:
        with training_lock(model):
            return _Round(base, model, settings, cache, key, device).run(labelled, report)
    except SegtrustError:
        raise
    except OSError as error:
        raise TrainingError(
            f"{models_dir} and {cache} must be writable, got: {error}. Is the disk full? Free some space and "
            "start again: finished members and epochs are kept, and what was served still is."
        ) from error


@dataclass(frozen=True)
class _Round:
    base: ModelVersion
    model: Path
    settings: RoundSettings
    cache: Path
    key: bytes
    device: str

    def run(self, labelled: Sequence[LabelledScan], report: Callable[[Progress], None]) -> RoundResult:
        best = best_version(self.model) if (self.model / "current").is_file() else self.base
        cohort = gather(labelled, self.spec, self._known(labelled, best))
        if not cohort.train:
            raise TrainingError(_nothing_to_train_on(labelled, cohort))
        plan = make_plan(self.base, self.spec, cohort, self.settings, self.device, self.key)
        clock = RoundClock(plan.runs, self.settings.workers, report)
        members = train_members(plan.runs, self.cache, workers=self.settings.workers, report=clock.member)
        draft = ModelVersion(
            folder=self.model,
            id="draft",
            spec=self.base.spec,
            members=tuple(members),
            calibration={"calibrator": Identity().to_json()},
            card={},
            digest="draft",
        )
        clock.step("gate")
        pairs = self._pairs(best, draft, cohort)
        verdict = judge(pairs)
        clock.step("calibrating")
        fitted = self._recalibrate(draft, cohort, plan, pairs)
        test = self._measure(replace(draft, calibration=fitted.calibration), cohort)
        clock.step("publishing")
        facts = {
            "scans": {role: len(getattr(cohort, role)) for role in ("train", "calibration", "test")},
            "left_out": dict(cohort.left_out),
            "unusable": sorted(cohort.unusable),
            "calibration": fitted.to_json(),
            "gate": dict(verdict.figures),
            "test": test,
            "folds_left_out": plan.left_out,
        }
        status, reason = self._decide(verdict)
        card = self._card(cohort, plan, members, fitted, verdict, best, test)
        if not (self.model / "current").is_file():
            adopt_version(self.base, self.model)
        version = publish_version(
            self.model,
            self.base.spec,
            members,
            fitted.calibration,
            {**card, "status": status},
            keep_because=reason if status == "kept" else "",
        )
        return RoundResult(version.id, status, reason, {**facts, "seconds": round(clock.seconds, 1)})

    @property
    def spec(self) -> ModelSpec:
        """The model's specification for labels that hold canonical values."""
        labels = tuple(replace(label, source_value=label.value) for label in self.base.spec.labels)
        return replace(self.base.spec, labels=labels)

    def _known(self, labelled: Sequence[LabelledScan], best: ModelVersion) -> dict[str, str]:
        """Patients that the parent or the best version learnt from."""
        cards = (self.base.card, best.card)
        learnt = {patient for card in cards for seen in card.get("learnt", []) for patient in seen}
        return {
            scan.subject: "an earlier version was trained on its patient"
            for scan in labelled
            if patient_hash(scan.subject, self.key) in learnt
        }

    def _predictor(self, version: ModelVersion) -> Predictor:
        return Predictor(version, device=self.device, precision=self.settings.precision)

    def _pairs(self, best: ModelVersion, draft: ModelVersion, cohort: RoundCohort) -> list[GateScan]:
        old, new = self._predictor(best), self._predictor(draft)
        return [
            pair_scan(old, new, *read_pair(scan.files, self.spec), subject=scan.subject, seed=index)
            for index, scan in enumerate(cohort.calibration)
        ]

    def _recalibrate(
        self, draft: ModelVersion, cohort: RoundCohort, plan: RoundPlan, pairs: Sequence[GateScan]
    ) -> Recalibration:
        @cache
        def some(chosen: tuple[int, ...]) -> Predictor | None:
            members = tuple(draft.members[i] for i in chosen)
            return self._predictor(replace(draft, members=members)) if members else None

        def strangers(scan: LabelledScan) -> Predictor | None:
            return some(plan.strangers(patient_hash(scan.subject, self.key)))

        return recalibrate(
            [pair.voxels[1] for pair in pairs],
            [scan for scan in cohort.train if plan.left_out],
            strangers,
            self.spec,
            inherited=self.base.calibration if self.settings.start == "warm" else None,
            precision=self.settings.precision,
        )

    def _measure(self, served: ModelVersion, cohort: RoundCohort) -> dict[str, Any] | None:
        """Figures on test scans, for the card alone; ``None`` without such scans."""
        predictor = self._predictor(served)
        calibrator = calibrator_from_json(served.calibration["calibrator"])
        records: list[CaseRecord] = []
        for scan in cohort.test:
            image, labels = read_pair(scan.files, self.spec)
            prepared, statistics, _ = predictor.sample(image)
            records.append(
                evaluate_case(
                    scan.id,
                    scan.subject,
                    {"ensemble": (statistics.mean, None), "calibrated": (statistics.mean, calibrator)},
                    labels,
                    image.spacing,
                    prepared.valid,
                    main="calibrated",
                    scores=predictor.conclude(image, prepared, statistics).scores,
                    rule=self.spec.head.rule,
                    assumed=predictor.spacing_of(image),
                )
            )
        names = [label.name for label in self.spec.labels]
        return make_card(records, names, main="calibrated") if records else None

    def _decide(self, verdict: GateVerdict) -> tuple[str, str]:
        if verdict.passed is None:
            return (
                "kept" if self.settings.small_gate == "ask" else "unproven"
            ), f"unproven: {verdict.reason}"
        return ("published" if verdict.passed else "kept"), verdict.reason

    def _card(
        self,
        cohort: RoundCohort,
        plan: RoundPlan,
        members: Sequence[Path],
        fitted: Recalibration,
        verdict: GateVerdict,
        best: ModelVersion,
        test: Mapping[str, Any] | None,
    ) -> dict[str, Any]:
        roles = {role: getattr(cohort, role) for role in ("train", "calibration", "test")}
        patients = {
            role: sorted({patient_hash(scan.subject, self.key) for scan in scans})
            for role, scans in roles.items()
        }
        run = plan.runs[0]
        return {
            "name": self.spec.name,
            "parent": {
                "version": self.base.id,
                "digest": self.base.digest,
                "shipped": self.base.folder.is_relative_to(shipped_models_dir()),
                "start": self.settings.start,
            },
            "recipe": {**vars(run.budget), "seeds": [r.seed for r in plan.runs]},
            "training_code": CODE,
            "training_seconds": spent_seconds(members),
            "data": {role: len(scans) for role, scans in roles.items()},
            "data_subjects": {role: len(hashes) for role, hashes in patients.items()},
            "patients": patients,
            "learnt": [sorted(seen) for seen in plan.learnt],
            "folds_left_out": plan.left_out,
            "calibration": fitted.to_json(),
            "gate": {**verdict.figures, "against": best.digest, "reason": verdict.reason},
            **({} if verdict.is_better else {"best": best.digest}),
            "software": software_versions(),
            **({"test": test, "test_note": _TEST_NOTE} if test else {}),
        }


def _nothing_to_train_on(labelled: Sequence[LabelledScan], cohort: RoundCohort) -> str:
    if not labelled:
        return "training needs at least one labelled scan, got none. Label and submit a scan first."
    reasons = "; ".join(f"{scan}: {reason}" for scan, reason in list(cohort.left_out.items())[:5])
    if cohort.labels:
        return (
            "training needs at least one labelled scan whose role is train, got "
            f"{len(cohort.calibration)} of role calibration and {len(cohort.test)} of role test. "
            f"Label more scans. {reasons}".strip()
        )
    return (
        f"training needs at least one labelled scan that can be used, got none of {len(labelled)}: {reasons}"
    )
