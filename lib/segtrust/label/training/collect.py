"""What a round trains on: the final labels of a datastore, with patient and role of each scan."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import requests
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import MONAILabelException

from segtrust.errors import SegtrustError
from segtrust.label.queue.reviews import is_partial
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.dicomweb import DicomwebDatastore
from segtrust.release.cohort import LabelledScan, describe_subjects, subjects_of
from segtrust.roles import Role, is_held_out, role_used
from segtrust.settings import AppSettings
from segtrust.store import StateStore

__all__ = ["Collected", "collect_labelled", "fix_roles", "labels_of"]


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Labelled scans, how patients are told apart, and scan -> why its files could not be had."""

    scans: tuple[LabelledScan, ...]
    patients: str
    left_out: Mapping[str, str]


def labels_of(model: str, datastore: SafeDatastore) -> dict[str, str]:
    """Final labels that a model can learn from.

    Args:
        model: its name.
        datastore: the scans.

    Returns:
        Scan -> a stamp that changes when somebody labels it anew. Labels that fit no model are among them, as
        the round says what is wrong with them.
    """
    found = datastore.final_labels()
    return {scan: label.stamp for scan, label in found.items() if label.model in ("", model)}


def fix_roles(
    datastore: SafeDatastore, store: StateStore, settings: AppSettings
) -> tuple[dict[str, str], dict[str, Role]]:
    """Give every scan of the datastore its role, labelled or not; a role once given stays.

    Args:
        datastore: the scans.
        store: state of the site, which keeps roles.
        settings: how patients are told apart.

    Returns:
        Patients and roles, by scan.
    """
    scans = sorted(datastore.list_images())
    if isinstance(datastore, DicomwebDatastore):
        subjects = subjects_of(scans, rule=settings.subjects, patient_of=datastore.pacs.patient)
    else:
        subjects = subjects_of(scans, rule=settings.subjects)
    return subjects, store.fix_roles(subjects)


def collect_labelled(
    model: str, datastore: SafeDatastore, store: StateStore, settings: AppSettings
) -> Collected:
    """Collect a model's labelled scans; files that a PACS holds are fetched.

    Args:
        model: its name.
        datastore: the scans.
        store: state of the site.
        settings: how patients are told apart.

    Returns:
        Scans whose files are there. A scan counts for calibration or test only if it was drawn whatever the
        model thinks of it; else it is volunteered. One that was drawn so, and of whose label the client said
        that slices were not looked at, is left out.
    """
    subjects, roles = fix_roles(datastore, store, settings)
    scans: list[LabelledScan] = []
    left_out: dict[str, str] = {}
    for scan in labels_of(model, datastore):
        try:
            image = Path(datastore.get_image_uri(scan))
            label = Path(datastore.get_label_uri(scan, DefaultLabelTag.FINAL.value))
        except (SegtrustError, MONAILabelException, requests.RequestException) as error:
            left_out[scan] = str(getattr(error, "msg", "") or error)
            continue
        role = role_used(roles[scan], (entry.strategy for entry in store.served(scan)))
        if is_held_out(role) and is_partial(store, scan):
            left_out[scan] = "it measures the model and must be looked at in every slice; submit it again"
            continue
        scans.append(LabelledScan(id=scan, image=image, label=label, subject=subjects[scan], role=role))
    dicom = isinstance(datastore, DicomwebDatastore)
    way = "the setting `subjects`" if settings.subjects else "DICOM" if dicom else "nothing"
    return Collected(
        scans=tuple(scans),
        patients=f"patients told apart by {way}: {describe_subjects(subjects)}",
        left_out=left_out,
    )
