"""The app `black-box`: a network without its code, or probabilities alone, with our maps and scores."""

from collections.abc import Mapping
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.tasks.train import TrainTask

from segtrust.label.app import SegtrustApp
from segtrust.models import find_models


class BlackBoxApp(SegtrustApp, MONAILabelApp):
    """Everything in `models_dir`; nothing that ships, and nothing is trained."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        settings = {"models_dir": str(Path(app_dir) / "models"), **conf}
        served = {"models": ",".join(find_models(Path(settings["models_dir"])))}
        super().__init__(
            app_dir,
            studies,
            {**served, **settings},
            name="segtrust - black box",
            description="Segmentations of other people's networks, and where not to trust them.",
        )

    def init_trainers(self) -> dict[str, TrainTask]:
        return {}
