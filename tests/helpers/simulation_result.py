"""Made-up records of a simulation, whose figures can be worked out by hand."""

from labelled_site import BALLS
from segtrust.simulate.plan import SimulationPlan
from segtrust.training.loop import Budget
from segtrust.training.run import Recipe

__all__ = ["PLAN", "SUBJECTS", "make_replays"]

PLAN = SimulationPlan(
    recipe=Recipe(BALLS, Budget(epochs=1), (0, 1)),
    strategies=("uniform", "entropy"),
    seeds=(0, 1),
    counts=(2, 4, 6),
)
SUBJECTS = {"e1-1": "e1", "e1-2": "e1", "e2-1": "e2"}


def make_replays(uniform, entropy, *, whole=0.9, hits=8):
    """Replays in which every judged scan of a round has the same Dice: ``uniform`` and ``entropy`` per round.

    Each region has 10 voxels of confidence 0.9, ``hits`` of them right, and an NLL of 0.5 nats each.
    """
    curves = {"uniform": uniform, "entropy": entropy, "whole": [uniform[0], whole, whole]}
    return [
        [_record(number, dice, hits) for number, dice in enumerate(curve)]
        for _ in PLAN.seeds
        for curve in curves.values()
    ]


def _record(number, dice, hits):
    opened = PLAN.counts[number]
    bins = {"counts": [0] * 14 + [10], "confidence": [0.0] * 14 + [9.0], "hits": [0] * 14 + [hits]}
    totals = {"n": 10, "nll": 5.0, "brier": 1.0, "bins": bins, "classes": []}
    return {
        "round": number,
        "opened": [{"scan_id": f"s{i}", "reason": "drawn"} for i in range(opened)],
        "labelled": [f"s{i}" for i in range(opened - 1)],
        "members": ["m"],
        "cost": {
            "scans": opened,
            "slices": 3 * opened,
            "foreground_voxels": 10 * opened,
            "minutes": 2.5 * opened,
        },
        "junk": {"corrupted": 1},
        "judged": [
            {
                "scan": scan,
                "subject": subject,
                "dice": [dice],
                "totals": dict.fromkeys(("band", "outside", "volume"), totals),
            }
            for scan, subject in SUBJECTS.items()
        ],
    }
