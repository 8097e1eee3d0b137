"""Made-up whole heads: two bright balls where hippocampi lie, and a search that is told where."""

from dataclasses import replace

import numpy as np
import torch

from phantoms import BALL, Brightness, NetworkSource, spec_of, world_coordinates
from segtrust.inference import Predictor
from segtrust.inference.finder import SIDES, FinderRule, Sighting
from segtrust.inference.heads import HeadPredictor
from segtrust.inference.scan import Scan
from segtrust.models import Intensity, Label, ModelVersion

__all__ = ["CENTRES", "RULE", "KnownPlaces", "brightness_heads", "two_balls"]

CENTRES = ((-25.0, -10.0, 2.0), (24.0, -12.0, 1.0))
"""World millimetres of the left and the right ball."""

RULE = FinderRule(
    crops="tiny",
    box_mm=(20.0, 24.0, 18.0),
    from_mass_mm=(1.0, 0.0, 0.0),
    low_margins_mm=(5.0, 7.0, 4.0),
    high_margins_mm=(5.0, 7.0, 4.0),
    mass=(5.0, 100.0),
    least_peak=0.5,
    most_second=0.4,
    most_views_mm=8.0,
    least_margin_mm=3.0,
    apart_mm=(33.0, 69.0),
    leftwards_mm=(32.6, 67.0),
    volume_ml=(0.3, 0.8),
    most_moved_mm=12.0,
)
"""Limits for balls with a radius of 5 mm, 0.52 ml."""


class KnownPlaces:
    """A search that says what it was told: places in world millimetres, and other facts of a side by name."""

    def __init__(self, places=CENTRES, rule=RULE, **facts):
        labels = tuple(Label(f"{side} ball", value, value) for value, side in enumerate(SIDES, start=1))
        self.spec = spec_of(name="tiny-heads", labels=labels, members=1, extent_mm=None)
        self.version = ModelVersion(None, "0001", self.spec, (), {}, {}, "finder")
        self.rule, self._places, self._facts = rule, places, facts

    def search(self, _scan):
        seen = [
            Sighting(side, place, 20.0 if place else 0.0, 0.9 if place else 0.0, 0.0, 1.0, 30.0)
            for side, place in zip(SIDES, self._places, strict=True)
        ]
        return tuple(replace(own, **self._facts.get(own.side, {})) for own in seen), np.eye(4)


def two_balls(shape=(90, 70, 60), affine=None, *, centres=CENTRES, seed=0):
    """Two bright balls with a radius of 5 mm over weak noise; the world's zero is the middle of the scan."""
    if affine is None:
        affine = np.eye(4)
        affine[:3, 3] = -(np.array(shape) - 1) / 2
    world = world_coordinates(shape, affine)
    nearest = np.min([np.linalg.norm(world - centre, axis=-1) for centre in centres], axis=0)
    noise = np.random.default_rng(seed).uniform(0.1, 0.2, shape)
    data = (100 / (1 + np.exp(2 * (nearest - 5.0))) + noise).astype(np.float32)
    size = np.linalg.norm(affine[:3, :3], axis=0)
    return Scan(torch.from_numpy(data)[None], affine, tuple(float(mm) for mm in size))


def brightness_heads(finder=None, *, source=None):
    """Whole heads over a crop model that finds what is brighter than 50."""
    spec = spec_of(labels=BALL, intensity=Intensity("window", 0.0, 100.0), extent_mm=((14.0, 30.0),) * 3)
    version = ModelVersion(None, "0001", spec, (), {"calibrator": {"name": "identity"}}, {}, "crops")
    crops = Predictor(version, source=source or NetworkSource(Brightness(steepness=20.0)))
    return HeadPredictor(finder or KnownPlaces(), crops)
