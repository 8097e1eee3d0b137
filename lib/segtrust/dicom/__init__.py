"""Predictions as standard DICOM objects that refer to the series they were made from."""

from segtrust.dicom.anatomy import StructureCodes, structure_codes
from segtrust.dicom.parametric_map import map_names, write_parametric_map
from segtrust.dicom.segmentation import write_segmentation
from segtrust.dicom.series import Series, read_series

__all__ = [
    "Series",
    "StructureCodes",
    "map_names",
    "read_series",
    "structure_codes",
    "write_parametric_map",
    "write_segmentation",
]
