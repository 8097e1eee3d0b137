"""What a client of the routes of ``/train/`` does: label, start, watch, stop."""

import gzip
import json

import nibabel as nib
import numpy as np
import psutil

from live_server import Server, until

__all__ = ["Trainee", "halves"]


def halves(shape=(20, 18, 16)):
    """A label of a ball's two halves: 1 is the front, 2 the back."""
    values = np.zeros(shape, np.uint8)
    x, y, z = (np.arange(n) - (n - 1) / 2 for n in shape)
    ball = x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2 < 25
    values[ball] = np.where(y[None, :, None] > 0, 1, 2).repeat(shape[0], 0).repeat(shape[2], 2)[ball]
    return values


class Trainee:
    """One model of a server that runs.

    Args:
        server: the server.
        model: name of the model.
        seconds: how long one training may take.
    """

    def __init__(self, server: Server, model: str, seconds: float = 1200) -> None:
        self.server, self.model, self.seconds = server, model, seconds

    def submit(self, scan, values, affine=None, names=("front", "back"), **told):
        """Send a final label as a viewer does; ``told`` goes with it."""
        content = gzip.compress(nib.Nifti1Image(values, np.eye(4) if affine is None else affine).to_bytes())
        info = [{"name": name, "idx": index} for index, name in enumerate(names, start=1)]
        return self.server.put(
            "/datastore/label",
            params={"image": scan},
            files={"label": ("label.nii.gz", content)},
            data={"params": json.dumps(({"label_info": info} if names else {}) | told)},
        )

    def start(self, **options):
        """What Slicer's button sends, with some options changed."""
        return self.server.post(f"/train/{self.model}", json={"client_id": "user-xyz", **options})

    def stop(self):
        return self.server.delete("/train/")

    def status(self):
        return self.server.get("/train/").json()

    def record(self):
        return self.status()["segtrust"]

    def ended(self):
        """The status when the training has ended."""
        until(
            lambda: self.server.get("/train/?check_if_running=true").status_code == 404,
            self.seconds,
            lambda: f"the training did not end: {self.status()}",
        )
        return self.status()

    def reached(self, epoch):
        """The first epoch from ``epoch`` on that the first member has reported."""
        found = []

        def is_there() -> bool:
            progress = self.record().get("progress", {})
            if progress.get("member") == 1 and progress["epoch"] >= epoch:
                found.append(progress["epoch"])
            return bool(found)

        until(is_there, self.seconds, lambda: f"the training did not begin: {self.status()}")
        return found[0]

    def processes(self):
        """All processes below the server."""
        return psutil.Process(self.server.process.pid).children(recursive=True)

    def training_processes(self):
        """The training and all processes below it; the server also has a reader of files."""
        (training,) = (p for p in self.processes() if "monailabel.interfaces.utils.app" in p.cmdline())
        return [training, *training.children(recursive=True)]
