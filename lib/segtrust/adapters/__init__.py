"""Probability volumes and networks from elsewhere, brought to the form that everything here takes."""

from segtrust.adapters.cases import ProbabilityCase, read_case, read_probabilities
from segtrust.adapters.folder import (
    CaseFiles,
    Cohort,
    find_cases,
    find_pairs,
    find_volumes,
    named,
    structure_names,
    volume_files,
)
from segtrust.adapters.images import Image, ras_axes, read_image, toward_ras, voxel_size
from segtrust.adapters.written import write_mask, write_probabilities

__all__ = [
    "CaseFiles",
    "Cohort",
    "Image",
    "ProbabilityCase",
    "find_cases",
    "find_pairs",
    "find_volumes",
    "named",
    "ras_axes",
    "read_case",
    "read_image",
    "read_probabilities",
    "structure_names",
    "toward_ras",
    "volume_files",
    "voxel_size",
    "write_mask",
    "write_probabilities",
]
