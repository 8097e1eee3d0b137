"""Which labelled scans a round may use, for what, and why the others are left out."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from segtrust.errors import ScanError, SettingError, TrainingError
from segtrust.files.subjects import read_subject_table
from segtrust.models import ModelSpec
from segtrust.roles import ROLES, Role
from segtrust.training.cases import LabelledFiles, read_pair

__all__ = ["LabelledScan", "RoundCohort", "describe_subjects", "gather", "subjects_of"]

_MANY = 4
_TABLES = (".csv", ".tsv", ".txt")
_LEARNT: tuple[Role, ...] = ("train", "volunteered")


@dataclass(frozen=True, kw_only=True)
class LabelledScan:
    """A scan with its label: canonical values 1..N of the model, 0 elsewhere."""

    id: str
    image: Path
    label: Path
    subject: str
    role: Role

    @property
    def files(self) -> LabelledFiles:
        """Where it lies, and whose it is."""
        return LabelledFiles(self.id, self.subject, self.image, self.label)


@dataclass(frozen=True)
class RoundCohort:
    """What a round works with: scans by role, and scan id -> why it is left out.

    ``unusable`` are those of ``left_out`` whose files are at fault, not their role.
    """

    train: tuple[LabelledScan, ...]
    calibration: tuple[LabelledScan, ...]
    test: tuple[LabelledScan, ...]
    left_out: Mapping[str, str]
    unusable: frozenset[str] = frozenset()

    @property
    def labels(self) -> int:
        """Number of usable labels."""
        return len(self.train) + len(self.calibration) + len(self.test)


def subjects_of(
    scan_ids: Iterable[str],
    *,
    rule: str = "",
    patient_of: Callable[[str], str | None] = lambda _scan_id: None,
) -> dict[str, str]:
    """Say whose scan each is.

    Args:
        scan_ids: the scans.
        rule: a CSV file with the columns ``case`` and ``subject``, or a regular expression that matches from
            the start of a scan's id and whose first group is the patient; empty for no rule.
        patient_of: scan id -> PatientID of its DICOM series, or ``None``.

    Returns:
        Scan id -> patient. The rule counts most, since a de-identified archive may call everybody the same;
        then DICOM; a scan of which neither knows anything is a patient of its own.

    Raises:
        SettingError: if the file or the expression cannot be used.

    Example:
        >>> subjects_of(["ann_1", "ann_2", "x"], rule="([a-z]+)_")
        {'ann_1': 'ann', 'ann_2': 'ann', 'x': 'x'}
    """
    ids = tuple(scan_ids)
    ruled = _owners_by_rule(rule, ids)
    return {scan_id: ruled.get(scan_id) or patient_of(scan_id) or scan_id for scan_id in ids}


def _owners_by_rule(rule: str, scan_ids: Sequence[str]) -> dict[str, str]:
    if not rule:
        return {}
    if rule.lower().endswith(_TABLES):
        return read_subject_table(Path(rule)).owners(scan_ids)
    try:
        pattern = re.compile(rule)
    except re.error as error:
        raise SettingError(
            f"`subjects` must be a CSV file or a regular expression, got {rule!r}: {error}."
        ) from error
    if pattern.groups < 1:
        raise SettingError(f"`subjects` must have a group (in brackets) for the patient, got {rule!r}.")
    matches = {scan_id: pattern.match(scan_id) for scan_id in scan_ids}
    return {scan_id: match[1] for scan_id, match in matches.items() if match and match[1]}


def describe_subjects(subjects: Mapping[str, str]) -> str:
    """One sentence for the start: how many patients, and what to set if that is wrong.

    Args:
        subjects: scan id -> patient.

    Returns:
        The sentence.

    Example:
        >>> describe_subjects({"a_1": "a", "a_2": "a"})
        '2 scans of 1 patient.'
    """
    scans_of = Counter(subjects.values())
    counted = f"{len(subjects)} scans of {len(scans_of)} patient{'s' * (len(scans_of) != 1)}"
    if subjects and all(scan_id == subject for scan_id, subject in subjects.items()):
        return f"{counted}: one scan counts as one patient. If patients have several, say so with `subjects`."
    if (most := max(scans_of.values(), default=0)) > max(_MANY, len(subjects) / 2):
        return (
            f"{counted}, {most} of them of one. If the archive calls different patients the same, say whose "
            "scans they are with `subjects`."
        )
    return f"{counted}."


def gather(scans: Sequence[LabelledScan], spec: ModelSpec, seen: Mapping[str, str]) -> RoundCohort:
    """Sort labelled scans by role; leave out what cannot be used.

    Args:
        scans: the labelled scans.
        spec: of the model.
        seen: patient -> why no scan of his may calibrate or test any more.

    Returns:
        The cohort. No patient is in two roles: train and volunteered win over calibration, calibration over
        test, so that what is measured on was never learnt.

    Raises:
        TrainingError: if an id occurs twice.
    """
    if len({scan.id for scan in scans}) != len(scans):
        raise TrainingError("every labelled scan must be given once, got an id twice.")
    left_out: dict[str, str] = {}
    usable: dict[Role, list[LabelledScan]] = {role: [] for role in ROLES}
    for scan in sorted(scans, key=lambda s: s.id):
        if reason := _unusable(scan, spec):
            left_out[scan.id] = reason
        else:
            usable[scan.role].append(scan)
    unusable = frozenset(left_out)
    train = [scan for role in _LEARNT for scan in usable[role]]
    taken = {scan.subject: f"its patient has scans in {scan.role}" for scan in train} | dict(seen)
    measuring: dict[Role, list[LabelledScan]] = {}
    for role in ("calibration", "test"):
        measuring[role] = [scan for scan in usable[role] if scan.subject not in taken]
        left_out |= {scan.id: taken[scan.subject] for scan in usable[role] if scan.subject in taken}
        taken |= {scan.subject: f"its patient has scans in {role}" for scan in measuring[role]}
    return RoundCohort(
        tuple(train), tuple(measuring["calibration"]), tuple(measuring["test"]), left_out, unusable
    )


def _unusable(scan: LabelledScan, spec: ModelSpec) -> str:
    """Why a scan cannot be used; empty if it can."""
    try:
        _, labels = read_pair(scan.files, spec)
    except (ScanError, TrainingError) as error:
        return str(error)
    if labels.any() or scan.role not in _LEARNT:  # a healthy scan measures false positives
        return ""
    return f"the label {scan.label.name!r} must mark a structure to be learnt from, got background only."
