"""The app `stochastic`: a network that draws several plausible masks of one scan."""

from collections.abc import Mapping
from pathlib import Path

from monailabel.interfaces.app import MONAILabelApp

from segtrust.label.app import SegtrustApp


class StochasticApp(SegtrustApp, MONAILabelApp):
    """Lung nodules in CT crops, and the hippocampus in MR crops: stochastic networks, ready to run."""

    only = ("lung-nodules", "hippocampus-stochastic")

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        super().__init__(
            app_dir,
            studies,
            {"models_dir": str(Path(app_dir) / "models"), **conf},
            name="segtrust - stochastic",
            description="Several plausible masks of a scan, and where they agree.",
        )
