"""A made-up site: balls that are learnt in seconds, with labels, patients and roles."""

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import replace

import nibabel as nib
import numpy as np

from phantoms import TINY_NETWORK, make_blob, publish_random_version, spec_of, write_scan
from segtrust.models import Label
from segtrust.release.cohort import LabelledScan
from segtrust.roles import patient_hash

__all__ = [
    "BALLS",
    "BALLS_AS_STORED",
    "KEY",
    "fix_key",
    "give_back",
    "give_roles",
    "label_ball",
    "make_site",
    "small_files",
]

KEY = b"the key of a made-up site"
BALLS = spec_of(
    name="balls",
    labels=(Label("ball", 1, 7),),
    patch=(8, 8, 8),
    network={**TINY_NETWORK, "out_channels": 2},
    spacing=None,
)
BALLS_AS_STORED = replace(BALLS, labels=(Label("ball", 1, 1),))
"""As labels are stored: the server brings the values of files (7) to the model's own (1)."""


def label_ball(folder, name, role="train", *, subject=None, seed=None, radius=3.0):
    """Write a ball and its label, and say so."""
    scan = make_blob((10, 9, 8), radius=radius, seed=len(name) if seed is None else seed)
    image, label = folder / f"{name}.nii.gz", folder / f"{name}-label.nii.gz"
    write_scan(scan, image)
    bright = (scan.data[0].numpy() > 50).astype(np.uint8)
    nib.save(nib.Nifti1Image(bright, scan.affine), label)
    return LabelledScan(id=name, image=image, label=label, subject=subject or name, role=role)


def make_site(folder, roles):
    """Publish a model of balls under ``shipped`` and label one scan per role."""
    publish_random_version(folder / "shipped" / "balls", BALLS)
    (folder / "studies").mkdir()
    return [label_ball(folder / "studies", f"s{i:02d}", role, seed=i) for i, role in enumerate(roles)]


def fix_key(store, key=KEY):
    """Give a new site a secret that is the same in every run, and so the same roles."""
    with closing(sqlite3.connect(store.path, timeout=30)) as db, db:
        db.execute("INSERT INTO site VALUES ('key', ?)", (key,))
    assert store.site_key() == key


def give_roles(store, patients):
    """Give new scans the roles that a test needs, scan -> (patient, role), whatever the site's key says."""
    key = store.site_key()
    rows = [(scan, patient_hash(patient, key), role, 0.0) for scan, (patient, role) in patients.items()]
    with closing(sqlite3.connect(store.path, timeout=30)) as db, db:
        db.executemany("INSERT INTO roles VALUES (?, ?, ?, ?)", rows)


def give_back(store):
    """Let scans without a label be handed out again, as if nobody had had them."""
    for lease in store.leases():
        if lease.state != "submitted":
            store.withdrawn(lease.scan_id)


@contextmanager
def small_files(most):
    """A disk on which no file grows beyond ``most`` bytes: the system refuses to write, as on a full disk."""
    import resource  # noqa: PLC0415  # POSIX only

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
