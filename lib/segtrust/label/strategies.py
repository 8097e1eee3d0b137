"""Which scan next: thin adapters between MONAI Label's strategies, stored scores and pure ranking."""

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from segtrust.errors import ModelNotFoundError, ScanError, SettingError
from segtrust.inference import fingerprint
from segtrust.label.served import ServedModel
from segtrust.selection import rank_scans, uniform_order
from segtrust.store import StateStore, StoredScore

__all__ = ["EntropyStrategy", "OhifStrategy", "UniformStrategy", "chosen_model", "telling_name"]


class EntropyStrategy(Strategy):
    """The unlabelled scan with the highest stored score; scans without one come after those with one."""

    def __init__(self, models: Mapping[str, ServedModel], store: StateStore) -> None:
        super().__init__("The scan the model is least sure about: highest mean entropy at its structures.")
        self._models = models
        self._store = store

    def info(self) -> dict[str, Any]:
        return {**super().info(), "config": {"model": list(self._models)}}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        model = chosen_model(request, self._models)
        waiting = sorted(datastore.get_unlabeled_images())
        stored = self._store.scores(model.version().digest, model.settings_digest())
        scored = {i: stored[i].score for i in waiting if i in stored and stored[i].error is None}
        for place in rank_scans(scored):
            found = stored[place.scan_id]
            if _is_current(found, datastore):
                return _answer(place.scan_id, "entropy", place.rank, len(waiting), _reason(found), found)
        failed = [i for i in waiting if i in stored and stored[i].error is not None]
        unscored = uniform_order([i for i in waiting if i not in failed], 0)
        for scan_id in (*unscored, *failed):
            error = stored[scan_id].error if scan_id in failed else None
            reason = f"Scoring failed: {error}" if error else "Not scored yet: run scoring `entropy`."
            return _answer(scan_id, "entropy", None, len(waiting), reason, None)
        return None


class UniformStrategy(Strategy):
    """Any unlabelled scan with the same chance; the fair comparison for every other strategy."""

    def __init__(self) -> None:
        super().__init__("Any unlabelled scan with the same chance; option `seed` makes it repeatable.")

    def info(self) -> dict[str, Any]:
        return {**super().info(), "config": {"seed": ""}}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        waiting = sorted(datastore.get_unlabeled_images())
        seed = _seed(request.get("seed"))
        if not waiting:
            return None
        reason = f"Drawn at random, seed {seed}."
        return _answer(uniform_order(waiting, seed)[0], "uniform", None, len(waiting), reason, None)


class OhifStrategy(Strategy):
    """What the key `random` serves: OHIF's button can call no other key.

    Args:
        name: key of the strategy behind it.
        strategy: that strategy.
    """

    def __init__(self, name: str, strategy: Strategy) -> None:
        super().__init__(
            f"Not random: serves strategy `{name}` (setting `ohif_strategy`), since OHIF's button can call "
            "only this key. True random is `uniform`."
        )
        self._strategy = strategy

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        answer: dict[str, Any] | None = self._strategy(request, datastore)
        return answer


def chosen_model(request: Mapping[str, Any], models: Mapping[str, ServedModel]) -> ServedModel:
    """The model that a request's option `model` names; the first one if it names none.

    Args:
        request: the request; a list (an option a viewer did not touch) counts by its first value.
        models: models of the app.

    Returns:
        The model.

    Raises:
        ModelNotFoundError: if there is no such model.
    """
    name = request.get("model")
    name = name[0] if isinstance(name, list) and name else name
    if not name:
        return next(iter(models.values()))
    if name not in models:
        raise ModelNotFoundError(f"no model {name!r}. Served: {', '.join(models)}.")
    return models[name]


def telling_name(sample: Mapping[str, Any]) -> str:
    """File name of a served scan with rank and score put before its extension.

    3D Slicer names the volume after it; nothing that identifies a patient is read or changed.

    Args:
        sample: what a strategy answered, with ``name`` from the datastore.

    Returns:
        The name with its extension; unchanged if the scan has no rank.

    Source:
        ours.

    Example:
        >>> scan = {"id": "a", "name": "a.nii.gz", "rank": 1, "of": 9, "score": 0.25, "strategy": "entropy"}
        >>> telling_name(scan)
        'a (rank 1 of 9, entropy 0.250).nii.gz'
    """
    scan_id = str(sample["id"])
    name = str(sample.get("name") or scan_id)
    rank, score = sample.get("rank"), sample.get("score")
    if rank is None or score is None or not name.startswith(scan_id):
        return name
    told = f"(rank {rank} of {sample['of']}, {sample['strategy']} {score:.3f})"
    return f"{scan_id} {told}{name.removeprefix(scan_id)}"


def _seed(value: object) -> int:
    if value in (None, ""):
        return secrets.randbelow(2**31)
    try:
        return int(str(value))
    except ValueError as error:
        raise SettingError(f"`seed` must be a whole number, got {value!r}.") from error


def _is_current(found: StoredScore, datastore: Datastore) -> bool:
    """Whether the scan is still the file that was scored; looked at only for a scan about to be served."""
    try:
        return fingerprint(Path(datastore.get_image_uri(found.key.scan_id))) == found.key.fingerprint
    except ScanError:
        return False


def _reason(found: StoredScore) -> str:
    if found.score is None:
        return "The model finds no structure in it."
    return f"Mean entropy around the structures {found.score:.3f} of at most 1."


def _answer(
    scan_id: str, strategy: str, rank: int | None, of: int, reason: str, found: StoredScore | None
) -> dict[str, Any]:
    return {
        "id": scan_id,
        "score": found.score if found else None,
        "rank": rank,
        "of": of,
        "strategy": strategy,
        "reason": reason,
        "slices": list(found.details.get("slices", ())) if found else [],
        "flags": [dict(flag) for flag in found.flags] if found else [],
    }
