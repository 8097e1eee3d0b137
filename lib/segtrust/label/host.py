"""What routes use of the app that serves; nothing here knows the app's class."""

from collections.abc import Mapping
from typing import Any, Protocol

from monailabel.interfaces.utils.app import app_instance

from segtrust.inference import Prediction
from segtrust.label.drift import DriftWatch
from segtrust.label.scoring.worker import ScoringWorker
from segtrust.label.served import ServedModel
from segtrust.label.served_heads import ServedHeads
from segtrust.label.trail import AuditTrail
from segtrust.label.training.trainings import Trainings

__all__ = ["Host", "serving_app"]


class Host(Protocol):
    """The app as routes see it; methods without a sentence here are MONAI Label's."""

    served: Mapping[str, ServedModel]
    answering: Mapping[str, ServedModel | ServedHeads]
    trainings: Trainings
    scoring_worker: ScoringWorker
    audit: AuditTrail
    drift: DriftWatch

    def prediction(self, model: str, image: str) -> Prediction:
        """What a model says about a scan of the datastore."""

    def infer(self, request: dict[str, Any]) -> dict[str, Any]: ...

    def next_sample(self, request: dict[str, Any]) -> dict[str, Any]: ...

    def info(self) -> dict[str, Any]: ...

    def datastore(self) -> Any: ...  # noqa: ANN401  # MONAI Label's, or one of ours

    def sessions(self) -> Any: ...  # noqa: ANN401  # MONAI Label's, or `None` where they are off

    def on_save_label(self, image_id: str, label_id: str) -> dict[str, Any]: ...


def serving_app() -> Host:
    """The app of this server process."""
    app: Host = app_instance()
    return app
