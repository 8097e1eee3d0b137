"""The app `hippocampus`: the trained, calibrated ensemble that comes with segtrust."""

from collections.abc import Mapping

from monailabel.interfaces.app import MONAILabelApp

from segtrust.label.app import SegtrustApp


class HippocampusApp(SegtrustApp, MONAILabelApp):
    """Anterior and posterior hippocampus in T1 MRI crops, ready to run."""

    only = ("hippocampus",)

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            name="segtrust - hippocampus",
            description="Anterior and posterior hippocampus in T1 MRI, with the chance of error shown.",
        )
