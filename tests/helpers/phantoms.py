"""Made-up scans, networks and models whose right answer is known without running anything."""

import nibabel as nib
import numpy as np
import torch
from torch import nn

from segtrust.inference import Predictor
from segtrust.inference.members import build_network, save_weights
from segtrust.inference.scan import Scan
from segtrust.models import Intensity, Label, ModelSpec, ModelVersion, publish_version

__all__ = [
    "BALL",
    "Brightness",
    "FixedSource",
    "NetworkSource",
    "bright_predictor",
    "make_blob",
    "oblique",
    "publish_random_version",
    "restored",
    "spec_of",
    "store_otherwise",
    "version_of",
    "world_coordinates",
    "write_scan",
]

TINY_NETWORK = {
    "_target_": "monai.networks.nets.UNet",
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "norm": "batch",
}


def spec_of(**changes):
    """A two-structure 3-D softmax specification that answers in milliseconds, with some fields changed."""
    fields = {
        "name": "tiny",
        "labels": (Label("front", 1, 1, (230, 120, 40)), Label("back", 2, 2, (60, 140, 220))),
        "network": TINY_NETWORK,
        "patch": (16, 16, 16),
        "spacing": (1.0, 1.0, 1.0),
        "members": 2,
        "extent_mm": ((10.0, 40.0), (10.0, 40.0), (10.0, 40.0)),
        "modality": "MR",
    }
    return ModelSpec(**{**fields, **changes})


def publish_random_version(model, spec, *, calibrator=None, seed=0):
    """Publish a version whose members have weights drawn from ``seed``."""
    model.mkdir(parents=True, exist_ok=True)
    weights = []
    for member in range(spec.members):
        with torch.random.fork_rng([]):
            torch.manual_seed(1000 * seed + member)
            network = build_network(spec)
        weights.append(model.parent / f"{spec.name}-{member}.safetensors")
        save_weights(network, weights[-1])
    calibration = {"calibrator": calibrator or {"name": "identity"}, "subjects": 0}
    return publish_version(model, spec, weights, calibration, {"note": "random weights, for tests"})


def make_blob(shape=(20, 18, 16), affine=None, *, centre=None, radius=5.0, seed=0):
    """A scan whose brightness is a smooth ball around ``centre`` (world mm), over weak noise above 0."""
    affine = np.eye(4) if affine is None else np.asarray(affine, dtype=np.float64)
    world = world_coordinates(shape, affine)
    if centre is None:
        centre = affine[:3, :3] @ ((np.array(shape) - 1) / 2) + affine[:3, 3]
    distance = np.linalg.norm(world - centre, axis=-1)
    noise = np.random.default_rng(seed).uniform(0.1, 0.2, shape)
    data = (100 / (1 + np.exp(2 * (distance - radius))) + noise).astype(np.float32)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    return Scan(torch.from_numpy(data)[None], affine, tuple(float(mm) for mm in size))


def world_coordinates(shape, affine):
    """RAS+ millimetres of every voxel centre, ``(*shape, 3)``."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), axis=-1)
    return index @ affine[:3, :3].T + affine[:3, 3]


def store_otherwise(scan, order, flips):
    """The same voxels at the same places, stored with axes in another order and running the other way."""
    affine, data = scan.affine.copy(), scan.data.numpy()
    for axis, flip in enumerate(flips):
        if flip:
            affine[:3, 3] += affine[:3, axis] * (data.shape[axis + 1] - 1)
            affine[:3, axis] *= -1
            data = np.flip(data, axis + 1)
    affine[:3, :3] = affine[:3, list(order)]
    data = np.ascontiguousarray(data.transpose(0, *(a + 1 for a in order)))
    spacing = tuple(scan.spacing[a] for a in order)
    return Scan(torch.from_numpy(data), affine, spacing)


def restored(array, order, flips):
    """Undo :func:`store_otherwise` for a volume ``(X, Y, Z)``."""
    array = np.transpose(array, np.argsort(order))
    return np.flip(array, [axis for axis, flip in enumerate(flips) if flip])


def write_scan(scan, path):
    """Write a scan as NIfTI, channels last."""
    array = scan.data.numpy()
    array = array[0] if len(array) == 1 else np.moveaxis(array, 0, -1)
    nib.save(nib.Nifti1Image(array, scan.affine), path)
    return path


class Brightness(nn.Module):
    """A network without weights: the brighter a voxel, the surer it is class 1 of ``classes``."""

    def __init__(self, classes=2, steepness=2.0, threshold=0.5):
        super().__init__()
        self.classes, self.steepness, self.threshold = classes, steepness, threshold

    def forward(self, image):
        logits = torch.zeros((image.shape[0], self.classes, *image.shape[2:]))
        logits[:, 1] = self.steepness * (image[:, 0] - self.threshold)
        return logits


class NetworkSource:
    """One sample per network, run through the real sliding window."""

    def __init__(self, *networks):
        self.networks = networks

    def __len__(self):
        return len(self.networks)

    def samples(self, image, slide):
        for network in self.networks:
            yield slide(network, image)


class FixedSource:
    """Samples that a function computes from the image on the network's grid, without any window."""

    def __init__(self, *functions):
        self.functions = functions

    def __len__(self):
        return len(self.functions)

    def samples(self, image, slide):
        for function in self.functions:
            yield function(image)


BALL = (Label("ball", 1, 1),)


def version_of(spec, calibrator=None):
    """A version without weights, for sources that bring their own."""
    calibration = {"calibrator": calibrator or {"name": "identity"}}
    return ModelVersion(None, "0001", spec, (), calibration, {}, "digest")


def bright_predictor(spacing=(1.0, 1.0, 1.0), **options):
    """Foreground is where the scan is brighter than 50, whatever the geometry."""
    spec = spec_of(labels=BALL, spacing=spacing, intensity=Intensity("window", 0.0, 100.0))
    return Predictor(version_of(spec), source=NetworkSource(Brightness(steepness=20.0)), **options)


def oblique(size, degrees=25.0):
    """An affine of voxels of a given size, turned and tilted."""
    a, b = np.deg2rad(degrees), np.deg2rad(-degrees / 3)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ tilt @ np.diag(size), [12, -30, 7]
    return affine
