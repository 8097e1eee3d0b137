"""What clients ask for: MONAI Label's request keys become types here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from monailabel.interfaces.datastore import DefaultLabelTag

from segtrust.errors import SettingError
from segtrust.inference import EXCESS, MAP_NAMES, VIEW_MAPS
from segtrust.label.answer import AnswerForm
from segtrust.label.settings import AppSettings, parse_bool, read_names
from segtrust.label.studies.tags import check_result_tag
from segtrust.quality import CONTOUR_WORDS, ContourWords

__all__ = [
    "InferRequest",
    "ResultRequest",
    "SampleRequest",
    "claimed_name",
    "first_value",
    "model_name",
    "recorded_options",
    "result_tag",
    "uses_several_gpus",
]

_MAPS = (*MAP_NAMES, EXCESS, *VIEW_MAPS)
_FLOATS = {"float": "float32", "single": "float32", "float64": "float32", "double": "float32"}

_RECORDED = (
    "map", "show", "flag", "contours", "structure", "device", "store_in_pacs", "save_label", "label_tag",
    "result_extension", "result_dtype", "result_compress",
)  # fmt: skip
_LONGEST_RECORDED = 60

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


@dataclass(frozen=True, kw_only=True)
class SampleRequest:
    """Which scan is wanted next, and by whom.

    ``strategy`` is ``random``, MONAI Label's own, unless it is named; ``model`` is empty for the first that
    is served; ``client_id`` is empty for a client that does not say who it is.

    Raises:
        SettingError: for a model that is no text, or a seed that is no whole number.
    """

    strategy: str
    model: str
    seed: int
    client_id: str

    @classmethod
    def from_request(cls, request: Mapping[str, Any]) -> Self:
        """Read MONAI Label's keys ``strategy``, ``model``, ``seed`` and ``client_id``."""
        return cls(
            strategy=str(request.get("strategy") or "random"),
            model=model_name(request),
            seed=_seed(request.get("seed")),
            client_id=str(request.get("client_id") or ""),
        )


def model_name(request: Mapping[str, Any]) -> str:
    """The option ``model`` of a request; empty if it names none.

    Raises:
        SettingError: if it is no text.
    """
    name = first_value(request.get("model"))
    if name and not isinstance(name, str):
        raise SettingError(f"`model` must be the name of a model, got {name!r}.")
    return name or ""


def result_tag(request: Mapping[str, Any]) -> str:
    """The tag under which a request wants a model's result to be saved.

    Args:
        request: an inference; ``label_tag`` is ``original`` unless it is there.

    Returns:
        The tag as text.

    Raises:
        LabelError: if the tag is ``final``: the result would replace a label that a person made.
        PathError: as :func:`~segtrust.label.studies.tags.check_tag`.
    """
    return check_result_tag(request.get("label_tag") or DefaultLabelTag.ORIGINAL)


def recorded_options(request: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an inference that the audit trail keeps: short values of keys that are understood."""
    return {
        key: value
        for key in _RECORDED
        if isinstance(value := first_value(request.get(key)), str | int | float | bool)
        and value != ""
        and len(str(value)) <= _LONGEST_RECORDED
    }


def claimed_name(request: Mapping[str, Any]) -> str:
    """The name that a client gives itself; believed only where nobody logs in."""
    name = request.get("client_id")
    return name if isinstance(name, str) and name.isprintable() else ""


def uses_several_gpus(request: Mapping[str, Any]) -> bool:
    """Whether a batch may spread over several GPUs; MONAI Label takes an absent key for yes."""
    return bool(request.get("multi_gpu", True))


def _seed(value: object) -> int:
    if value in (None, ""):
        return 0
    try:
        return int(str(value))
    except ValueError as error:
        raise SettingError(f"`seed` must be a whole number, got {value!r}.") from error


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
