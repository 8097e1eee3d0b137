"""Active learning over HTTP with a real PACS: two annotators, one round."""

import nibabel as nib
import numpy as np
import pytest

from dicom_phantoms import make_series
from labelled_site import give_roles
from orthanc import pacs_with_server
from segtrust.store import StateStore
from training_client import Trainee, halves
from two_annotators import work_through

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SHAPE = (20, 18, 16)


def make_patient(folder, number):
    """A series of noise of a patient of its own; returns its UID."""
    uids = []

    def change(headers):
        for k, header in enumerate(headers):
            header.PatientID, header.PatientName = f"P{number}", f"Phantom^{number}"
            noise = np.random.default_rng([number, k]).integers(0, 200 + 100 * number, (SHAPE[1], SHAPE[0]))
            header.PixelData = noise.astype("<u2").tobytes()
            uids.append(str(header.SeriesInstanceUID))
        return headers

    make_series(folder, shape=SHAPE, spacing=(1.0, 1.0, 1.0), change=change)
    return uids[0]


def test_two_annotators_learn_actively(tmp_path, quick_model):
    folders = [tmp_path / f"series{number}" for number in range(8)]
    *scans, drawn = [make_patient(folder, number) for number, folder in enumerate(folders)]
    store = StateStore(tmp_path / "server" / "state" / "state.sqlite")
    give_roles(store, {uid: (uid, "train") for uid in scans} | {drawn: (drawn, "calibration")})
    conf = {"models": "quick", "models_dir": quick_model.parent, "warm_up": "false", "device": "cpu"}
    with pacs_with_server(tmp_path, folders, conf=conf) as (_, server):
        quick = Trainee(server, "quick")

        def label(scan):
            path = tmp_path / f"{scan}.nii.gz"
            path.write_bytes(server.get("/datastore/image", params={"image": scan}).content)
            return halves(nib.load(path).shape), nib.load(path).affine

        work_through(quick, label, scans, drawn)
