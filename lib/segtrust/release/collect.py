"""What a round trains on: the final labels of a site, with patient and role of each scan.

Server and command line collect here and nowhere else, so that both hold the same scans back.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from segtrust.errors import SegtrustError
from segtrust.release.cohort import LabelledScan, describe_subjects, subjects_of
from segtrust.roles import Role, is_held_out, role_used
from segtrust.store import StateStore

__all__ = ["FinalLabel", "collect_labelled", "fix_roles", "labels_of"]


@dataclass(frozen=True)
class FinalLabel:
    """A final label as it is listed: the model it belongs to (empty: any), a stamp that changes with it."""

    model: str
    stamp: str


class LabelledSite(Protocol):
    """The scans of a site and their final labels, wherever the files lie."""

    @property
    def patients_known_by(self) -> str:
        """What says which patient a scan belongs to: ``DICOM``, or ``nothing``."""

    def list_images(self) -> list[str]:
        """Ids of all scans."""

    def patient_of(self, image_id: str) -> str | None:
        """PatientID of a scan; ``None`` where nothing says it."""

    def final_labels(self) -> Mapping[str, FinalLabel]:
        """Scan -> its final label, without fetching it."""

    def unusable_labels(self) -> Mapping[str, str]:
        """Scan -> why the final label that somebody put there cannot be used."""

    def labelled_files(self, image_id: str) -> tuple[Path, Path]:
        """Files of a scan and its final label, fetched if they are elsewhere.

        Raises:
            SegtrustError: if one of them cannot be had.
        """


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Labelled scans, the patient of every scan, and scan -> why its files are not used."""

    scans: tuple[LabelledScan, ...]
    subjects: Mapping[str, str]
    told_apart_by: str
    left_out: Mapping[str, str]

    @property
    def patients(self) -> str:
        """One sentence: how patients are told apart, and how many there are."""
        return f"patients told apart by {self.told_apart_by}: {describe_subjects(self.subjects)}"


def labels_of(model: str, site: LabelledSite) -> dict[str, str]:
    """Final labels that a model can learn from.

    Args:
        model: its name.
        site: the scans.

    Returns:
        Scan -> a stamp that changes when somebody labels it anew. Labels that fit no model are among them, as
        the round says what is wrong with them.
    """
    labels = site.final_labels()
    return {scan: label.stamp for scan, label in labels.items() if label.model in ("", model)}


def fix_roles(site: LabelledSite, store: StateStore, rule: str) -> tuple[dict[str, str], dict[str, Role]]:
    """Give every scan of a site its role, labelled or not; a role once given stays.

    Args:
        site: the scans.
        store: state of the site, which keeps roles.
        rule: how patients are told apart, as :func:`~segtrust.release.cohort.subjects_of` reads it.

    Returns:
        Patients and roles, by scan.
    """
    subjects = subjects_of(sorted(site.list_images()), rule=rule, patient_of=site.patient_of)
    return subjects, store.fix_roles(subjects)


def collect_labelled(model: str, site: LabelledSite, store: StateStore, rule: str) -> Collected:
    """Collect a model's labelled scans; files that lie elsewhere are fetched.

    Args:
        model: its name.
        site: the scans.
        store: state of the site.
        rule: how patients are told apart, as :func:`~segtrust.release.cohort.subjects_of` reads it.

    Returns:
        Scans whose files are there. A scan counts for calibration or test only if it was drawn whatever the
        model thinks of it; else it is volunteered. One that was drawn so, and of whose label the client said
        that slices were not looked at, is left out.
    """
    subjects, roles = fix_roles(site, store, rule)
    scans: list[LabelledScan] = []
    labels = labels_of(model, site)  # looks at those that somebody put there by hand
    left_out = dict(site.unusable_labels())
    for scan in labels:
        if scan not in roles:
            continue  # it came since the scans were listed; the next round has it
        try:
            image, label = site.labelled_files(scan)
        except SegtrustError as error:
            left_out[scan] = str(error)
            continue
        role = role_used(roles[scan], (entry.strategy for entry in store.served(scan)))
        review = store.review(scan)
        if is_held_out(role) and review is not None and not review.is_complete:
            left_out[scan] = "it measures the model and must be looked at in every slice; submit it again"
            continue
        scans.append(LabelledScan(id=scan, image=image, label=label, subject=subjects[scan], role=role))
    return Collected(
        scans=tuple(scans),
        subjects=subjects,
        told_apart_by="the setting `subjects`" if rule else site.patients_known_by,
        left_out=left_out,
    )
