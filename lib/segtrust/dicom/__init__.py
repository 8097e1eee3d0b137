"""Predictions and labels as standard DICOM objects that refer to the series they were made from."""

from segtrust.dicom.anatomy import StructureCodes, structure_codes
from segtrust.dicom.labels import StoredLabel, is_prediction, read_label, segment_names
from segtrust.dicom.parametric_map import map_names, write_parametric_map
from segtrust.dicom.segmentation import write_label, write_segmentation
from segtrust.dicom.series import Series, read_series

__all__ = [
    "Series",
    "StoredLabel",
    "StructureCodes",
    "is_prediction",
    "map_names",
    "read_label",
    "read_series",
    "segment_names",
    "structure_codes",
    "write_label",
    "write_parametric_map",
    "write_segmentation",
]
