"""Labels that were submitted to a PACS come back from it as labels to train on."""

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from training_client import Trainee

pytestmark = pytest.mark.slow


def test_a_model_learns_from_labels_in_the_pacs_and_is_served(server, series, uid, tmp_path):
    quick = Trainee(server, "quick")
    scan = tmp_path / "scan.nii.gz"
    scan.write_bytes(server.get("/datastore/image", params={"image": uid("predicted")}).content)
    image = nib.load(scan)
    values = np.zeros(image.shape, np.uint8)
    values[5:15, 5:25, 5:25], values[20:30, 5:25, 5:25] = 1, 2
    answer = quick.submit(uid("predicted"), values, image.affine)
    assert answer.status_code == 200, answer.text
    assert answer.json()["segtrust"]["model"] == "quick"
    (kept,) = server.log.parent.glob(f"cache/*/labels/final/{uid('predicted')}.nii.gz")
    kept.unlink()  # so that the PACS alone has it

    started = quick.start(epochs=1)
    assert started.status_code == 200, started.text
    record = quick.ended()["segtrust"]
    assert (record.get("error"), record["state"]) == (None, "unproven")
    assert uid("predicted") not in record["left_out"]
    assert record["report"]["scans"]["train"] >= 1
    patients = {str(dcmread(next(s.folder.glob("*.dcm"))).PatientID) for s in series.values()}
    assert record["patients"] == (
        f"patients told apart by DICOM: {len(series)} scans of {len(patients)} patients."
    )
    np.testing.assert_array_equal(np.asanyarray(nib.load(kept).dataobj), values)
    served = server.infer("quick", uid("predicted"), output="json").json()
    assert served["segtrust"]["version"] == record["version"] == "0002"
