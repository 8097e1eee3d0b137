"""The one button of OHIF's panel that starts and stops a training."""

import nibabel as nib
import numpy as np

from training_client import Trainee


def test_the_button_trains_what_has_new_labels_and_ends_it_again(reading, server, headers, tmp_path):
    trainee, scan = Trainee(server, "hippocampus"), headers[0].SeriesInstanceUID
    volume = tmp_path / "scan.nii.gz"
    volume.write_bytes(server.get("/datastore/image", params={"image": scan}).content)
    image = nib.load(volume)
    values = np.zeros(image.shape, np.uint8)
    values[8:16, 8:16, 8:16], values[18:24, 8:16, 8:16] = 1, 2
    names = ("anterior hippocampus", "posterior hippocampus")
    assert trainee.submit(scan, values, image.affine, names).status_code == 200

    page = reading.page
    page.locator("label.tab-label", has_text="Active Learning").click()
    with page.expect_response(lambda answer: answer.url.endswith("/train/")) as told:
        page.get_by_role("button", name="Update Model").click()
    assert told.value.request.post_data_json == {}
    started = told.value.json()["hippocampus"]
    assert (started["detail"], started["result"]["request"]["model"]) == (None, "hippocampus")
    stop = page.get_by_role("button", name="Stop Training")
    stop.wait_for()
    with page.expect_response(lambda answer: answer.request.method == "DELETE") as told:
        stop.click()
    assert told.value.json()["status"] == "STOPPED"
    page.get_by_role("button", name="Update Model").wait_for()
    assert trainee.status()["status"] == "STOPPED"
