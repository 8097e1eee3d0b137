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
from segtrust.adapters.written import write_mask, write_probabilities

__all__ = [
    "CaseFiles",
    "Cohort",
    "ProbabilityCase",
    "find_cases",
    "find_pairs",
    "find_volumes",
    "named",
    "read_case",
    "read_probabilities",
    "structure_names",
    "volume_files",
    "write_mask",
    "write_probabilities",
]
