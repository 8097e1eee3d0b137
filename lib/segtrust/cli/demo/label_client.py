"""What a viewer asks a MONAI Label server, over HTTP: inference, scoring, the next scan."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from requests_toolbelt.multipart.decoder import MultipartDecoder

from segtrust.cli.demo.label_server import ServerError

__all__ = ["LabelClient", "ModelAnswer", "RefusedError"]


class RefusedError(ServerError):
    """The server answered, with an error; ``word`` and ``reason`` are what it said."""

    def __init__(self, route: str, answer: requests.Response) -> None:
        try:
            document = answer.json()
            self.word, self.reason = str(document["code"]), str(document["detail"])
        except (ValueError, KeyError, TypeError):
            self.word, self.reason = "refused", answer.text[:500]
        super().__init__(f"the server answered {route} with {answer.status_code}: {self.reason}")


@dataclass(frozen=True, kw_only=True)
class ModelAnswer:
    """The two parts of an inference answer: the volume's bytes, and ``params``."""

    volume: bytes
    params: dict[str, Any]

    @property
    def trust(self) -> dict[str, Any]:
        """What segtrust says about the scan."""
        about: dict[str, Any] = self.params["segtrust"]
        return about

    def save(self, path: Path) -> Path:
        """Write the volume to a file and return its path."""
        path.write_bytes(self.volume)
        return path


class LabelClient:
    """Talks to one server.

    Args:
        url: address of the server.
        seconds: time after which a request without an answer fails.
    """

    def __init__(self, url: str, *, seconds: float = 600.0) -> None:
        self._url = url
        self._seconds = seconds

    def infer(self, model: str, scan: str, **options: str) -> ModelAnswer:
        """Run one infer task on one scan of the studies.

        Args:
            model: name of the task.
            scan: id of the scan.
            options: request keys, such as ``result_dtype``.

        Returns:
            The volume as a ``.nii.gz`` and ``params``.

        Raises:
            RefusedError: if the server answers with an error.
            ServerError: if it does not answer.
        """
        params = {"result_extension": ".nii.gz", **options}
        answer = self._post(
            f"infer/{model}", {"image": scan, "output": "all"}, data={"params": json.dumps(params)}
        )
        parts = {
            _part_name(part.headers): part.content for part in MultipartDecoder.from_response(answer).parts
        }
        return ModelAnswer(volume=parts["image"], params=json.loads(parts["params"]))

    def score(self, method: str) -> None:
        """Have all scans scored, and wait for it."""
        self._post(f"scoring/{method}", {"run_sync": "true"})

    def next_scan(self, strategy: str) -> dict[str, Any]:
        """Ask for the scan to label next; empty if there is none."""
        document: dict[str, Any] = self._post(f"activelearning/{strategy}", {}, json={}).json()
        return document

    def _post(self, route: str, query: dict[str, str], **body: object) -> requests.Response:
        try:
            answer = requests.post(f"{self._url}/{route}", params=query, timeout=self._seconds, **body)  # type: ignore[arg-type]  # passed on as it is
        except requests.RequestException as error:
            raise ServerError(f"the server did not answer {route}: {error}") from error
        if not answer.ok:
            raise RefusedError(route, answer)
        return answer


def _part_name(headers: Mapping[bytes, bytes]) -> str:
    disposition = headers[b"Content-Disposition"].decode()
    return disposition.split('name="', 1)[1].split('"', 1)[0]
