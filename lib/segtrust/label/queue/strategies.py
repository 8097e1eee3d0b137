"""Which scan next: MONAI Label's strategies, all of them doors to one queue."""

from collections.abc import Mapping
from typing import Any

from monailabel.interfaces.datastore import Datastore
from monailabel.interfaces.tasks.strategy import Strategy

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.queue.queue import CHECK, Queue
from segtrust.label.requests import SampleRequest
from segtrust.label.served import ServedModel
from segtrust.selection import STRATEGIES

__all__ = ["chosen_model", "queue_strategies", "telling_name"]

OHIF_KEY = "random"
"""The only strategy that OHIF's button can call."""

_DESCRIPTIONS = {
    "doubt": "The scan with the lowest Dice to be expected; a usual structure that is missing counts.",
    "entropy": "The scan the model is least sure about: highest mean entropy at its structures.",
    "uniform": "Any scan with the same chance.",
    "foreground_random": "Any scan in which the model finds a structure, with the same chance.",
    "power": "Unsure scans first, with noise, so that a batch is not twenty times the same difficulty.",
    "clasp": "Unsure scans of each structure in turn, with noise that gets less from round to round.",
    "diverse": "Unsure scans that look different from one another and from those that have labels.",
    "cold_start": "Typical scans of every kind first; for a model that has learned little yet.",
    CHECK: "Scans that look unlike training or cannot be scored: look at them before they are labelled.",
}


class QueueStrategy(Strategy):
    """One strategy of the queue.

    Args:
        name: a key of :data:`segtrust.selection.STRATEGIES`, or ``check``.
        description: shown in viewers.
        models: models of the app.
        queue: hands out the scans.
    """

    def __init__(self, name: str, description: str, models: Mapping[str, ServedModel], queue: Queue) -> None:
        super().__init__(description)
        self._name = name
        self._models = models
        self._queue = queue

    def info(self) -> dict[str, Any]:
        return {**super().info(), "config": {"model": list(self._models), "seed": ""}}

    def __call__(self, request: dict[str, Any], datastore: Datastore) -> dict[str, Any] | None:
        wanted = SampleRequest.from_request(request)
        model = chosen_model(wanted.model, self._models)
        return self._queue.next_scan(
            self._name, model, datastore, seed=wanted.seed, client_id=wanted.client_id
        )


def queue_strategies(
    models: Mapping[str, ServedModel], queue: Queue, ohif_strategy: str
) -> dict[str, Strategy]:
    """All strategies of an app, and the key that OHIF's button calls.

    Args:
        models: models of the app.
        queue: hands out the scans.
        ohif_strategy: the strategy behind :data:`OHIF_KEY`.

    Returns:
        Key -> strategy.

    Raises:
        SettingError: if there is no such strategy.
    """
    names = (*STRATEGIES, CHECK)
    if ohif_strategy not in names:
        raise SettingError(f"`ohif_strategy` must be one of {', '.join(names)}, got {ohif_strategy!r}.")
    own: dict[str, Strategy] = {
        name: QueueStrategy(name, _DESCRIPTIONS[name], models, queue) for name in names
    }
    alias = (
        f"Not random: serves strategy `{ohif_strategy}` (setting `ohif_strategy`), since OHIF's button can "
        "call only this key. True random is `uniform`."
    )
    return {**own, OHIF_KEY: QueueStrategy(ohif_strategy, alias, models, queue)}


def chosen_model(name: str, models: Mapping[str, ServedModel]) -> ServedModel:
    """The model of a name; the first one for an empty name.

    Args:
        name: as a request says it.
        models: models of the app.

    Returns:
        The model.

    Raises:
        ModelNotFoundError: if there is no such model.
    """
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

    Example:
        >>> scan = {"id": "a", "name": "a.nii.gz", "rank": 1, "of": 9, "score": 0.25, "strategy": "entropy"}
        >>> telling_name(scan)
        'a (rank 1 of 9, entropy 0.250).nii.gz'
        >>> telling_name({**scan, "strategy": "doubt"})
        'a (rank 1 of 9, doubt 0.250).nii.gz'
        >>> telling_name({**scan, "strategy": "power"})
        'a (rank 1 of 9 by power, entropy 0.250).nii.gz'
    """
    scan_id = str(sample["id"])
    name = str(sample.get("name") or scan_id)
    rank, score, strategy = sample.get("rank"), sample.get("score"), sample.get("strategy")
    if rank is None or score is None or not name.startswith(scan_id):
        return name
    by = "" if strategy in ("doubt", "entropy") else f" by {strategy}"
    number = f"{'doubt' if strategy == 'doubt' else 'entropy'} {score:.3f}"
    return f"{scan_id} (rank {rank} of {sample['of']}{by}, {number}){name.removeprefix(scan_id)}"
