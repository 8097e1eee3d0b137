"""Standard codes for body parts and structures, as far as a name leaves no doubt."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from segtrust.dicom.provenance import CODING_SCHEME

__all__ = ["StructureCodes", "anatomic_region", "structure_codes"]

_BODY = "123037004"  # SNOMED CT, with the meaning that the place of use asks for
_ANATOMY = Code(_BODY, "SCT", "Anatomical Structure")


def _snomed(meaning: str) -> Code:
    """The code that the installed edition of DICOM has for a meaning."""
    code: Code = getattr(codes.SCT, meaning.title().replace(" ", ""))
    return code


_REGIONS = {
    meaning.upper(): _snomed(meaning)
    for meaning in (
        "Abdomen",
        "Brain",
        "Breast",
        "Chest",
        "Head",
        "Heart",
        "Kidney",
        "Liver",
        "Lung",
        "Neck",
        "Pancreas",
        "Prostate",
        "Spine",
        "Spleen",
    )
}
_MODIFIERS = {meaning: _snomed(meaning) for meaning in ("anterior", "posterior")}
_STRUCTURES = {
    meaning: _snomed(meaning)
    for meaning in (
        "brain",
        "heart",
        "hippocampus",
        "kidney",
        "left ventricle",
        "liver",
        "lung",
        "pancreas",
        "prostate",
        "right ventricle",
        "spleen",
    )
}


@dataclass(frozen=True)
class StructureCodes:
    """What a segment shows: its category (DICOM CID 7150), its type, and where in the type, if a part."""

    type: Code
    category: Code = _ANATOMY
    modifier: Code | None = None


def structure_codes(name: str, own_codes: Mapping[str, StructureCodes] | None = None) -> StructureCodes:
    """Codes of a structure.

    Args:
        name: the model's name of it.
        own_codes: codes by name, which go before ours.

    Returns:
        Those of ``own_codes``; else of SNOMED CT for a few whole organs and their anterior and posterior
        parts; else a private code with the name as its meaning. Left and right are never guessed.

    Source:
        Codes of SNOMED CT as DICOM PS3.16 uses them.

    Example:
        >>> structure_codes("anterior hippocampus").type.value
        '5366008'
        >>> structure_codes("Lesion 2").type.value
        'LESION_2'
    """
    if own_codes is not None and name in own_codes:
        return own_codes[name]
    words = name.lower()
    part, _, whole = words.partition(" ")
    if words in _STRUCTURES:
        return StructureCodes(_STRUCTURES[words])
    if part in _MODIFIERS and whole in _STRUCTURES:
        return StructureCodes(_STRUCTURES[whole], modifier=_MODIFIERS[part])
    return StructureCodes(Code(_private_value(name), CODING_SCHEME, name[:64]))


def _private_value(name: str) -> str:
    """At most 16 characters, different for different names."""
    value = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if re.fullmatch(r"[A-Za-z0-9 _-]{1,16}", name):
        return value
    return f"{value[:7]}_{sha256(name.encode()).hexdigest()[:8].upper()}"


def anatomic_region(body_part: str) -> Code:
    """Code of the part of the body that a series shows.

    Args:
        body_part: BodyPartExamined, empty if the series does not say.

    Returns:
        Its code, or "Body structure" for what is not in the table: true of any scan.

    Source:
        DICOM PS3.16 annex L maps these words to these codes.

    Example:
        >>> anatomic_region("BRAIN").meaning
        'Brain'
    """
    return _REGIONS.get(body_part.strip().upper(), Code(_BODY, "SCT", "Body structure"))
