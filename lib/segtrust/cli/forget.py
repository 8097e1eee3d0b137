"""`segtrust forget PATIENT`: delete all that a site has of one patient."""

import argparse
from pathlib import Path

from segtrust.errors import SettingError
from segtrust.label.forgetting import forget_patient
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.label.studies.dicomweb import cache_dir
from segtrust.store import StateStore, person_here, state_dir_for

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `segtrust forget`."""
    parser.add_argument(
        "patient", help="PatientID, or what the rule `subjects` gives; without either a scan's id"
    )
    parser.add_argument("studies", help="folder of the scans, or DICOMweb URL, as the server has it")
    parser.add_argument("--state-dir", type=Path, metavar="DIR", help="the server's setting `state_dir`")
    parser.add_argument("--yes", action="store_true", help="do it; without it only what would go is listed")


def run(args: argparse.Namespace) -> int:
    """List what would go, or delete it.

    Args:
        args: options of :func:`add_arguments`.

    Returns:
        The exit status: 1 if the site knows no scan of the patient.

    Raises:
        SettingError: if there is no site.
    """
    path = state_dir_for(args.studies, args.state_dir) / "state.sqlite"
    if not path.is_file():
        raise SettingError(f"a site must have a state file, but there is no {path}. Is --state-dir missing?")
    store = StateStore(path)
    scans = store.scans_of(store.patient_hash(args.patient))
    if not args.yes:
        print(f"{len(scans)} scans would be deleted: {', '.join(scans) or 'none'}. Say --yes to do it.")
        return 0 if scans else 1
    is_pacs = args.studies.startswith(("http://", "https://"))
    datastore = None if is_pacs else _folder(args.studies, store)
    copies = cache_dir(args.studies) if is_pacs else None
    done = forget_patient(args.patient, store, datastore, copies, person_here())
    print(f"deleted {len(done.scans)} scans, {done.files} files and folders, {done.rows} rows")
    for version in done.versions:
        print(f"knows the patient: {version}. Train anew without, then `segtrust versions prune`.")
    if is_pacs:
        print("The PACS keeps its own objects. Delete them there.")
    print("Back-ups keep what they have; sessions of viewers end within an hour of their last use.")
    return 0 if done.scans else 1


def _folder(studies: str, store: StateStore) -> SafeDatastore:
    return SafeDatastore(
        studies,
        structures={},
        store=store,
        on_served=store.mark_served,
        keep=1,
        frozen=True,
        extensions=["*.nii.gz", "*.nii", "*.nrrd"],
    )
