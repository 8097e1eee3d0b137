"""A site as the command line opens it: the scans, state, models and settings of its server, beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from monailabel.config import settings as platform

from segtrust.errors import ModelNotFoundError, SettingError
from segtrust.label.names import structure_labels
from segtrust.label.served import ServedModel, serve_models
from segtrust.label.settings import AppSettings
from segtrust.label.studies.datastore import SafeDatastore
from segtrust.store import StateStore, state_dir_for

__all__ = ["Site", "open_site"]


@dataclass(frozen=True)
class Site:
    """A folder of scans with what its server keeps about them."""

    state_dir: Path
    store: StateStore
    served: Mapping[str, ServedModel]
    datastore: SafeDatastore

    def model(self, name: str) -> ServedModel:
        """A model of the site.

        Args:
            name: which one.

        Raises:
            ModelNotFoundError: if the site has no such model.
        """
        if name not in self.served:
            raise ModelNotFoundError(f"no model {name!r}. Known: {', '.join(self.served) or 'none'}.")
        return self.served[name]


def open_site(studies: Path, settings: AppSettings) -> Site:
    """Open a folder of scans as its server does; the server may run meanwhile.

    Args:
        studies: folder of scans.
        settings: those of the server.

    Returns:
        The site; its datastore never writes the server's index.

    Raises:
        SettingError: if ``studies`` is no folder.
        ModelNotFoundError: if there is no model.
        StoreError: if the state file cannot be used.
    """
    if not studies.is_dir():
        raise SettingError(f"--studies must name a folder, got {studies}.")
    state_dir = state_dir_for(str(studies), settings.state_dir)
    served = serve_models(settings, state_dir)
    store = StateStore(state_dir / "state.sqlite")
    datastore = SafeDatastore(
        str(studies),
        structures={name: structure_labels(model.spec) for name, model in served.items()},
        store=store,
        on_served=store.mark_served,
        frozen=True,
        extensions=platform.MONAI_LABEL_DATASTORE_FILE_EXT,
        auto_reload=False,
        channels=max((len(model.spec.channels) for model in served.values()), default=1),
    )
    return Site(state_dir, store, served, datastore)
