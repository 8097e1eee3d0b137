"""What a server leaves when it ends: plain MONAI Label must find every label with its information."""

import json

import nibabel as nib
import numpy as np
from monailabel.datastore.local import LocalDatastore

from copied_studies import running_server


def test_a_server_that_is_ended_leaves_what_plain_monai_label_reads(tmp_path, tiny_model, tiny_scan):
    with running_server(tmp_path, [tiny_scan], conf={"models_dir": tiny_model.parent}) as server:
        scan = tiny_scan.name.removesuffix(".nii.gz")
        image = nib.load(tiny_scan)
        label = nib.Nifti1Image(np.ones(image.shape, np.uint8), image.affine).to_bytes()
        info = {"client_id": "ann", "label_info": [{"name": "front", "idx": 1}]}
        answer = server.put(
            "/datastore/label",
            params={"image": scan},
            files={"label": ("label.nii", label)},
            data={"params": json.dumps(info)},
        )
        assert answer.status_code == 200, answer.text
        server.put("/datastore/image/info", params={"image": scan}, data={"info": '{"note": "x"}'})
    plain = LocalDatastore(str(server.studies), extensions=["*.nii.gz", "*.nii"])
    assert plain.get_label_info(scan, "final")["client_id"] == "ann"
    assert plain.get_label_info(scan, "final")["segtrust"]["model"] == "tiny"
    assert plain.get_image_info(scan)["note"] == "x"
