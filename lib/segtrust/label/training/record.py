"""What is known about the last training of each model: one small file that server and training share."""

import json
from pathlib import Path
from typing import Any

from segtrust._files import replace_text

__all__ = ["RoundRecord"]


class RoundRecord:
    """The file of one model; written by the process that trains, read by the server.

    Args:
        folder: holds the files of all models; made when something is written.
        model: name of the model.
    """

    def __init__(self, folder: Path, model: str) -> None:
        self.path = folder / f"{model}.json"

    def read(self) -> dict[str, Any]:
        """The record; empty if the model was never trained here."""
        if not self.path.is_file():
            return {}
        document: dict[str, Any] = json.loads(self.path.read_text(encoding="utf-8"))
        return document

    def begin(self, **facts: Any) -> None:  # noqa: ANN401  # of JSON types
        """Start the record of a new round; of the last one only what it learned from is kept."""
        self._write({"learned": self.read().get("learned", {}), "state": "running", **facts})

    def close(self, state: str, **facts: Any) -> None:  # noqa: ANN401  # of JSON types
        """Say how a round ended whose process could not say it itself."""
        if self.read().get("state") == "running":
            self.update(state=state, **facts)

    def update(self, **facts: Any) -> None:  # noqa: ANN401  # of JSON types
        """Add or replace facts of the round."""
        self._write({**self.read(), **facts})

    def _write(self, document: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_text(self.path, json.dumps(document, indent=1, allow_nan=False) + "\n")
