"""The endpoints of a protocol against what was measured."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from segtrust.evaluate.cases import CaseRecord
from segtrust.evaluate.protocol import Protocol
from segtrust.models import ModelVersion

__all__ = ["Measured", "check_endpoints"]


@dataclass(frozen=True)
class Measured:
    """What endpoints are read from.

    ``card`` are the figures of clean scans (:func:`segtrust.evaluate.card.make_card`), ``records`` the scans
    themselves, ``system`` what is served; the version's own card knows the single member and the training.
    """

    card: Mapping[str, Any]
    records: Sequence[CaseRecord]
    system: str
    version: ModelVersion

    def upper(self, region: str, figure: str) -> float | None:
        """Upper end of the interval of a figure of what is served."""
        end: float | None = self.card["systems"]["calibration"][self.system][region][figure]["high"]
        return end

    def above_raw(self, region: str, figure: str) -> float | None:
        """A figure of what is served less that of the uncalibrated ensemble; ``None`` without voxels."""
        calibration = self.card["systems"]["calibration"]
        served, raw = (calibration[system][region][figure]["value"] for system in (self.system, "ensemble"))
        return None if served is None else float(served - raw)

    def against_single(self) -> float | None:
        """Band NLL of what is served over that of one member with its own temperature, same voxels."""
        calibration = self.version.card.get("test", {}).get("systems", {}).get("calibration", {})
        if not {"calibrated", "single_temperature"} <= calibration.keys():
            return None
        served, single = (
            calibration[s]["band"]["nll"]["value"] for s in ("calibrated", "single_temperature")
        )
        return float(served / single)

    def training_hours(self) -> float | None:
        """Hours that all members took on two cores, one member on each."""
        seconds = self.version.card.get("training_seconds")
        return float(seconds) / 3600 / 2 if seconds else None


_VALUES: Mapping[str, Callable[[Measured], float | None]] = {
    "dice": lambda m: float(m.card["systems"]["dice"][m.system]["mean"]["value"]),
    "weights": lambda m: sum(path.stat().st_size for path in m.version.members) / 1e6,
    "training": Measured.training_hours,
    "ece_band": lambda m: m.upper("band", "ece"),
    "ece_volume": lambda m: m.upper("volume", "ece"),
    "nll_outside": lambda m: m.above_raw("outside", "nll"),
    "ece_outside": lambda m: m.above_raw("outside", "ece"),
    "nll_band": lambda m: m.upper("band", "nll"),
    "nll_band_single": Measured.against_single,
    "mask": lambda m: sum(record.changed[m.system] for record in m.records),
    "ranking_clean": lambda m: m.card["score_vs_logit_dice"]["entropy"]["pearson"]["value"],
}


def check_endpoints(protocol: Protocol, measured: Measured) -> list[dict[str, Any]]:
    """Say of every endpoint what was measured and whether its limit holds.

    Args:
        protocol: names the endpoints with ``least``, ``most`` or ``aim``.
        measured: a run on clean scans.

    Returns:
        One entry per endpoint: its words and limits, ``value`` (``None`` for what this run does not measure),
        and ``met`` and ``aim_met`` where there is such a limit.
    """
    endpoints = []
    for endpoint in protocol.content["endpoints"]:
        measure = _VALUES.get(endpoint["id"])
        value = measure(measured) if measure else None
        entry = {**endpoint, "value": value}
        least, most, aim = (endpoint.get(limit) for limit in ("least", "most", "aim"))
        if value is not None and (least is not None or most is not None):
            entry["met"] = (least is None or value >= least) and (most is None or value <= most)
        if value is not None and aim is not None:
            entry["aim_met"] = value >= aim if least is not None else value <= aim
        endpoints.append(entry)
    return endpoints
