"""Made-up DICOM series and predictions on their grids, with marks that a wrong order or direction moves."""

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from phantoms import spec_of
from segtrust.inference.prediction import Prediction
from segtrust.scores import ScanScores

__all__ = ["make_series", "marked_prediction", "seen_from", "stored_otherwise", "write_slice"]

MR = "1.2.840.10008.5.1.4.1.1.4"


def make_series(
    folder,
    *,
    shape=(9, 7, 5),
    spacing=(0.5, 0.8, 3.0),
    right=(1, 0, 0),
    down=(0, 1, 0),
    origin=(-20.0, 10.0, 5.0),
    descending=False,
    change=None,
):
    """Write slices of noise; ``change(headers)`` may damage the list before it is written."""
    folder.mkdir(parents=True, exist_ok=True)
    columns, rows, slices = shape
    right, down = np.array(right, float), np.array(down, float)
    normal = np.cross(right, down)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    headers = []
    for k in range(slices):
        header = Dataset()
        header.SOPClassUID, header.SOPInstanceUID = MR, generate_uid()
        header.StudyInstanceUID, header.SeriesInstanceUID = study, series
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = frame, ""
        header.PatientName, header.PatientID = "Phantom^Ball", "P1"
        header.PatientBirthDate, header.PatientSex = "", "O"
        header.StudyDate, header.StudyTime, header.AccessionNumber, header.StudyID = (
            "20260102",
            "101112",
            "",
            "1",
        )
        header.ReferringPhysicianName, header.Modality, header.Manufacturer = "", "MR", "made up"
        header.BodyPartExamined = "BRAIN"
        header.SeriesNumber, header.InstanceNumber = 1, (slices - k) if descending else k + 1
        header.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        header.ImageOrientationPatient = [round(float(v), 12) for v in (*right, *down)]
        position = np.array(origin) + k * spacing[2] * normal
        header.ImagePositionPatient = [round(float(v), 10) for v in position]
        header.PixelSpacing = [spacing[1], spacing[0]]
        header.SliceThickness = spacing[2]
        header.Rows, header.Columns, header.SamplesPerPixel = rows, columns, 1
        header.PhotometricInterpretation, header.PixelRepresentation = "MONOCHROME2", 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 16, 15
        noise = np.random.default_rng(k).integers(0, 1000, (rows, columns))
        header.PixelData = noise.astype("<u2").tobytes()
        headers.append(header)
    headers = change(headers) if change else headers
    for number, header in enumerate(reversed(headers) if descending else headers):
        write_slice(header, folder / f"{number:03d}.dcm")
    return folder


def write_slice(header, path):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.get("SOPClassUID", MR)
    meta.MediaStorageSOPInstanceUID = header.get("SOPInstanceUID", generate_uid())
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = FileDataset(None, header, file_meta=meta, preamble=b"\0" * 128)
    file.is_little_endian, file.is_implicit_VR = True, False
    file.save_as(path, write_like_original=False)


def marked_prediction(affine, shape, *, seed=0, **changes):
    """Random probabilities and the mask they give, with marks in the first corner and half way up.

    The first voxel is surely class 1, the voxel after it along each axis has another value, so that no flip
    or exchange of axes leaves the volume as it was.
    """
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (3, *shape)).astype(np.float32)
    logits[:, 0, 0, 0] = (0, 40, 0)
    probs = np.exp(logits - logits.max(0))
    probs /= probs.sum(0)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    fields = {
        "spec": spec_of(),
        "version_id": "0001",
        "digest": "d" * 64,
        "affine": np.asarray(affine, float),
        "spacing": tuple(float(mm) for mm in size),
        "mask": probs.argmax(0).astype(np.uint8),
        "probs": probs.astype(np.float32),
        "valid": np.ones(shape, dtype=bool),
        "members": 2,
        "calibration": "distance_temperature",
        "precision": "fp32",
        "device": "cpu",
        "scores": ScanScores(0.3, None, 0.4, None, None, None, 0.1, {1: 0.3, 2: 0.2}),
        "structures": (),
        "flags": (),
        "slices": (),
        "member_maps": {"between_member": rng.random(shape, dtype=np.float32)},
    }
    return Prediction(**{**fields, **changes})


def stored_otherwise(prediction, order, flips):
    """The same prediction with axes in another order and running the other way."""
    affine = prediction.affine.copy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (prediction.mask.shape[axis] - 1)
            affine[:3, axis] *= -1
    affine[:3, :3] = affine[:3, list(order)]

    def turn(volume):
        lead = volume.ndim - 3
        volume = np.flip(volume, [lead + axis for axis, flip in enumerate(flips) if flip])
        return np.ascontiguousarray(volume.transpose(*range(lead), *(lead + axis for axis in order)))

    fields = {
        **vars(prediction),
        "affine": affine,
        "mask": turn(prediction.mask),
        "probs": turn(prediction.probs),
        "valid": turn(prediction.valid),
        "member_maps": {name: turn(volume) for name, volume in prediction.member_maps.items()},
    }
    fields.pop("entropy", None)  # cached
    return Prediction(**fields)


def seen_from(volume, affine, other_affine, other_shape):
    """Values of a volume at the voxel centres of another grid, found by their place in the world."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in other_shape), indexing="ij"), axis=-1)
    world = index @ other_affine[:3, :3].T + other_affine[:3, 3]
    back = np.linalg.inv(affine)
    exact = world @ back[:3, :3].T + back[:3, 3]
    nearest = np.round(exact).astype(int)
    assert np.abs(exact - nearest).max() < 0.02
    assert nearest.min() >= 0
    return volume[nearest[..., 0], nearest[..., 1], nearest[..., 2]]
