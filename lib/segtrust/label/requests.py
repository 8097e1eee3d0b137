"""What clients ask for: MONAI Label's request keys become types here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from segtrust.errors import SettingError
from segtrust.inference import EXCESS, MAP_NAMES, VIEW_MAPS
from segtrust.label.answer import AnswerForm
from segtrust.label.settings import AppSettings, parse_bool, read_names
from segtrust.label.studies.tags import result_tag
from segtrust.quality import CONTOUR_WORDS, ContourWords

__all__ = ["InferRequest", "ResultRequest", "first_value"]

_MAPS = (*MAP_NAMES, EXCESS, *VIEW_MAPS)
_FLOATS = {"float": "float32", "single": "float32", "float64": "float32", "double": "float32"}

# keys that MONAI Label, its plug-ins or its datastore put into a request; everything else is reported
_PLATFORM_KEYS = frozenset({
    "model", "image", "images", "save_label", "label_tag", "label_info", "result_extension", "result_dtype",
    "result_compress", "result_write_to_file", "result_meta_dict", "restore_label_idx", "session",
    "session_id", "client_id", "description", "logging", "cache_transforms", "cache_transforms_in_memory",
    "cache_transforms_ttl", "highest_zoom_factor", "roi_size", "max_workers", "max_batch_size", "multi_gpu",
    "gpus", "background", "foreground", "centroids", "label", "mode", "output",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class InferRequest:
    """What one inference request asks for.

    Raises:
        SettingError: for an unknown map, or contours that are neither each nor joint.

    Example:
        >>> InferRequest.from_request({"map": "margin", "foo": 1}, AppSettings()).ignored
        ('foo',)
    """

    device: str
    scan: Path | None = None
    form: AnswerForm = field(default_factory=AnswerForm)
    map: str = "entropy"
    show: str = "agreement"
    flag: str = ""
    contours: ContourWords | None = None
    structure: str = ""
    store_in_pacs: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def float_map(self) -> bool:
        """Whether the map itself is asked for, and not what is made of it."""
        return self.form.dtype == "float32"

    @classmethod
    def from_request(cls, request: Mapping[str, Any], settings: AppSettings) -> Self:
        """Read a MONAI Label request.

        Args:
            request: the request's dictionary; lists (a plug-in's unread option) count by their first value.
            settings: the app's settings, which supply what the request leaves open.

        Returns:
            The typed request; ``ignored`` names the keys that nothing here understands.

        Raises:
            SettingError: if ``map`` is none of :data:`MAP_NAMES` and :data:`VIEW_MAPS`, and not
                :data:`EXCESS`, ``contours`` none of :data:`CONTOUR_WORDS`, or the form none that is written.
        """
        name = str(first_value(request.get("map")) or "entropy")
        if name not in _MAPS:
            raise SettingError(f"`map` must be one of {', '.join(_MAPS)}, got {name!r}.")
        words = str(first_value(request.get("contours")) or "")
        if words and words not in CONTOUR_WORDS:
            raise SettingError(f"`contours` must be one of {', '.join(CONTOUR_WORDS)}, got {words!r}.")
        understood = _PLATFORM_KEYS | {
            "contours",
            "device",
            "flag",
            "map",
            "show",
            "store_in_pacs",
            "structure",
        }
        return cls(
            device=str(first_value(request.get("device")) or settings.device),
            scan=Path(image) if isinstance(image := request.get("image"), str) and image else None,
            form=_form_of(request),
            map=name,
            show=str(first_value(request.get("show")) or "agreement"),
            flag=str(first_value(request.get("flag")) or ""),
            contours=next((word for word in CONTOUR_WORDS if word == words), None),
            structure=str(first_value(request.get("structure")) or ""),
            store_in_pacs=read_names(wanted, "none")
            if (wanted := request.get("store_in_pacs"))
            else settings.store_in_pacs,
            ignored=tuple(
                sorted(key for key in request if key not in understood and not key.startswith("image_"))
            ),
        )


@dataclass(frozen=True, kw_only=True)
class ResultRequest:
    """Which task runs on which scan, and under which tag its result is saved; without a tag it is not.

    Raises:
        SettingError: if ``save_label`` is no boolean.
        LabelError: if the tag is that of labels which people made.
        PathError: if the tag is none.
    """

    task: str
    image: object
    tag: str | None

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> Self:
        """Read MONAI Label's keys ``model``, ``image``, ``save_label`` and ``label_tag``."""
        saved = parse_bool(request.get("save_label") or False, "save_label")
        return cls(
            task=str(request.get("model") or ""),
            image=request.get("image"),
            tag=result_tag(request) if saved else None,
        )


def _form_of(request: Mapping[str, Any]) -> AnswerForm:
    extension = str(first_value(request.get("result_extension")) or ".nii.gz").lower()
    dtype = str(first_value(request.get("result_dtype")) or "uint8").lower().rpartition(".")[2]
    compress = first_value(request.get("result_compress"))
    return AnswerForm(
        extension=extension if extension.startswith(".") else f".{extension}",
        dtype=_FLOATS.get(dtype, dtype),
        compress=True if compress is None else parse_bool(compress, "result_compress"),
    )


def first_value(value: Any) -> Any:  # noqa: ANN401  # whatever a request holds
    """The first of several values: a plug-in sends the whole list of an option that nobody chose."""
    return value[0] if isinstance(value, list | tuple) and value else value
