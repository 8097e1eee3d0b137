"""What every DICOM object of ours says about its source, its maker and how far it may be trusted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.sr.coding import Code
from pydicom.valuerep import DS, PersonName

from segtrust import __version__
from segtrust.dicom.series import Series
from segtrust.inference.prediction import BLIND_SPOT, RESEARCH_ONLY, Prediction

__all__ = [
    "CODING_SCHEME",
    "MANUFACTURER",
    "Origin",
    "code_item",
    "equipment",
    "long_string",
    "origin_of_label",
    "origin_of_prediction",
    "pixel_measures",
    "references",
    "save",
    "stamp",
]

CODING_SCHEME = "99SEGTRUST"
"""Designator of the private codes for which no standard code exists."""

# Copied as the source has them, empty if it has none: every one is of type 2 in one of our objects.
_PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "PositionReferenceIndicator",
)
# Copied only if the source has them.
_IF_PRESENT = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "BodyPartExamined",
    "Laterality",
    "LossyImageCompression",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
MANUFACTURER = "segtrust"
"""What the objects name as their manufacturer."""

_SOFTWARE = f"{MANUFACTURER} {__version__}"


@dataclass(frozen=True)
class Origin:
    """Who made an object, with what, and how: the words for its header."""

    equipment: str
    software: tuple[str, ...]
    serial_number: str
    creator: str
    history: str


def origin_of_prediction(prediction: Prediction) -> Origin:
    """Words for an object that a program made.

    Args:
        prediction: whose model, version, members and calibration are named.

    Returns:
        The origin; the device's serial number is the version's digest.
    """
    calibration = prediction.calibration if prediction.is_calibrated else "none, chances are not calibrated"
    return Origin(
        equipment=f"{MANUFACTURER} model {prediction.spec.name}",
        software=(_SOFTWARE, f"model {prediction.spec.name} {prediction.version_id}"),
        serial_number=prediction.digest,
        creator=f"{MANUFACTURER}^automatic",
        history=(
            f"{_SOFTWARE}; model {prediction.spec.name} version {prediction.version_id}, digest "
            f"{prediction.digest}; {prediction.members} members, {prediction.precision}; calibration: "
            f"{calibration}. Made by a program and verified by nobody. {BLIND_SPOT} {RESEARCH_ONLY}"
        ),
    )


def origin_of_label() -> Origin:
    """Words for a label that a person submitted; the person is not named, as nobody checks the name."""
    return Origin(
        equipment=f"{MANUFACTURER} label",
        software=(_SOFTWARE,),
        serial_number="none",
        creator=f"{MANUFACTURER}^annotator",
        history=f"{_SOFTWARE}; label submitted by a person, drawn or corrected in a viewer. {RESEARCH_ONLY}",
    )


def equipment(origin: Origin) -> dict[str, Any]:
    """Manufacturer, model, versions and series UIDs as highdicom takes them.

    Args:
        origin: who made the object, with what.

    Returns:
        Keyword arguments of highdicom's constructors.

    Source:
        Attributes of the Enhanced General Equipment module, DICOM PS3.3 C.7.5.2.
    """
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": long_string(origin.equipment),
        "software_versions": [long_string(text) for text in origin.software],  # pydicom takes no tuple
        "device_serial_number": long_string(origin.serial_number),
        "series_instance_uid": hd.UID(),
        "sop_instance_uid": hd.UID(),
        "instance_number": 1,
        "content_creator_name": origin.creator,
        "content_description": long_string(f"Unverified. {RESEARCH_ONLY}"),
        "coding_schemes": [
            CodingSchemeIdentificationItem(CODING_SCHEME, name="segtrust private codes", version=__version__)
        ],
    }


def references(series: Series) -> list[Dataset]:
    """Headers cut down to what highdicom needs to refer to the slices, nothing about the patient.

    Patient and study are copied by :func:`stamp` instead: highdicom refuses or warns about (and so logs)
    names, sexes and dates that real archives hold.
    """
    return [_reference(header, series) for header in series.headers]


def _reference(header: Dataset, series: Series) -> Dataset:
    item = Dataset()
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
    ):
        setattr(item, keyword, header[keyword].value)
    for keyword in _PATIENT_AND_STUDY:
        setattr(item, keyword, None)
    item.Modality = header.get("Modality") or "OT"
    item.Rows, item.Columns = header.Rows, header.Columns
    item.ImagePositionPatient = _decimals(header.ImagePositionPatient)
    item.ImageOrientationPatient = _decimals(series.headers[0].ImageOrientationPatient)
    item.PixelSpacing = _decimals(series.headers[0].PixelSpacing)
    item.SliceThickness = _decimals([series.thickness])[0]
    item.SpacingBetweenSlices = _decimals([series.spacing[2]])[0]
    return item


def pixel_measures(series: Series) -> hd.PixelMeasuresSequence:
    """Spacings as measured from the slices' positions, not as the headers claim them."""
    return hd.PixelMeasuresSequence(
        pixel_spacing=(series.spacing[1], series.spacing[0]),
        slice_thickness=series.thickness,
        spacing_between_slices=_decimals([series.spacing[2]])[0],
    )


def stamp(document: Dataset, origin: Origin, series: Series) -> None:
    """Put on what both kinds of objects share: patient, study, provenance, and that nobody verified them.

    Args:
        document: highdicom's object; changed in place.
        origin: who made it, with what.
        series: what it refers to.

    Source:
        Modules of DICOM PS3.3 C.7.1, C.7.2, C.12.1 (contributing equipment). The verification flag is
        borrowed from structured reports, as a standard extended attribute.
    """
    document.SpecificCharacterSet = "ISO_IR 192"
    source = series.headers[0]
    for keyword in _PATIENT_AND_STUDY:
        _copy(source, document, keyword)
    for keyword in _IF_PRESENT:
        if keyword in source:
            _copy(source, document, keyword)
    document.ContentQualification = "RESEARCH"
    document.VerificationFlag = "UNVERIFIED"
    maker = Dataset()
    maker.PurposeOfReferenceCodeSequence = [code_item(Code("109102", "DCM", "Processing Equipment"))]
    for keyword in ("Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceSerialNumber"):
        setattr(maker, keyword, document[keyword].value)
    maker.ContributionDescription = origin.history[:1024]
    document.ContributingEquipmentSequence = [maker]


def _copy(source: Dataset, document: Dataset, keyword: str) -> None:
    value = source.get(keyword)
    if isinstance(value, PersonName):
        value = str(value)  # decoded: the source may use another character set
    # Not checked: an odd value is the source's, and pydicom's warning would print it.
    document[keyword] = DataElement(keyword, dictionary_VR(keyword), value, validation_mode=IGNORE)


def code_item(code: Code) -> hd.sr.CodedConcept:
    """A code as an item of a sequence."""
    return hd.sr.CodedConcept(code.value, code.scheme_designator, code.meaning, code.scheme_version)


def long_string(text: str) -> str:
    """At most 64 characters without backslash, as the value representation LO asks for.

    Example:
        >>> long_string("a" * 70)[-4:]
        'a...'
    """
    text = text.replace("\\", "/")
    return text if len(text) <= 64 else text[:61] + "..."


def _decimals(values: Sequence[float]) -> list[Any]:
    return [DS(float(value), auto_format=True) for value in values]


def save(document: Dataset, path: Path) -> Path:
    """Write the whole file or none."""
    partial = path.with_name(path.name + ".part")
    try:
        document.save_as(partial, write_like_original=False)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path
