"""The app `uncertainty`: every model found, with a view of where not to trust it."""

from collections.abc import Mapping

from monailabel.interfaces.app import MONAILabelApp

from segtrust.label.app import SegtrustApp


class UncertaintyApp(SegtrustApp, MONAILabelApp):
    """Masks, bands of the chance of error, and a queue of scans ordered by what the model does not know."""

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        super().__init__(
            app_dir,
            studies,
            conf,
            name="segtrust - uncertainty",
            description="Segmentation that shows where not to trust it.",
        )
