"""Do two maps rise and fall together? Moments that can be added."""

import math
from dataclasses import dataclass

from torch import Tensor

from segtrust._checks import check_same_space

__all__ = ["MapMoments"]

_CHUNK = 1 << 18
_ROUNDING = 1e-14  # a constant map has no more spread than this, relative to its mean


@dataclass(frozen=True)
class MapMoments:
    """Counts, means and centred second moments of two maps over the same voxels; can be added.

    Args:
        n: voxels.
        mean_a: mean of the first map.
        mean_b: mean of the second.
        aa: sum of the squared deviations of the first.
        bb: of the second.
        ab: sum of the products of both deviations.
    """

    n: int
    mean_a: float
    mean_b: float
    aa: float
    bb: float
    ab: float

    @classmethod
    def of(cls, a: Tensor, b: Tensor) -> "MapMoments":
        """Moments of the voxels of one region of one scan.

        Args:
            a: any shape, such as the uncertainty of a prediction.
            b: same shape, such as how often raters disagree with each other or with the prediction.

        Returns:
            Sums in float64; the peak memory is that of 256 Ki voxels.

        Raises:
            ShapeError: if the shapes differ.
        """
        check_same_space("a", a, "b", b)
        total = cls(0, 0.0, 0.0, 0.0, 0.0, 0.0)
        one, two = a.reshape(-1), b.reshape(-1)
        for begin in range(0, one.numel(), _CHUNK):
            x, y = one[begin : begin + _CHUNK].double(), two[begin : begin + _CHUNK].double()
            mean_x, mean_y = x.mean(), y.mean()
            x, y = x - mean_x, y - mean_y
            total += cls(x.numel(), float(mean_x), float(mean_y), float(x @ x), float(y @ y), float(x @ y))
        return total

    def __add__(self, other: "MapMoments") -> "MapMoments":
        n = self.n + other.n
        if not n:
            return self
        apart_a, apart_b, share = other.mean_a - self.mean_a, other.mean_b - self.mean_b, other.n / n
        weight = self.n * share
        return MapMoments(
            n,
            self.mean_a + apart_a * share,
            self.mean_b + apart_b * share,
            self.aa + other.aa + apart_a**2 * weight,
            self.bb + other.bb + apart_b**2 * weight,
            self.ab + other.ab + apart_a * apart_b * weight,
        )

    @property
    def ncc(self) -> float:
        r"""Normalised cross-correlation of the two maps; high means alike, 1 at most.

        .. math:: \frac{\sum_i (a_i - \bar a)(b_i - \bar b)}
                  {\sqrt{\sum_i (a_i - \bar a)^2 \sum_i (b_i - \bar b)^2}}

        Returns:
            In [-1, 1]; NaN if a map is constant or there are no voxels.

        Source:
            Baumgartner et al. 2019 (PHiSeg) and Kahl et al. 2024 (ValUES), for the maps of samples and of
            raters; sums merged as in Chan, Golub & LeVeque 1983.
        """
        for mean, spread in ((self.mean_a, self.aa), (self.mean_b, self.bb)):
            if spread <= self.n * (_ROUNDING * mean) ** 2:
                return math.nan
        return self.ab / math.sqrt(self.aa * self.bb)
