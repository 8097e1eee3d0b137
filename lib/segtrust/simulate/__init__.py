"""Active learning replayed on scans that have labels: which strategy would have paid, and by how much."""

from segtrust.simulate.folder import ReplayFolder, divide_folder, make_realistic, scans_in
from segtrust.simulate.oracle import Effort
from segtrust.simulate.plan import BASELINE, MONAI_LABEL, WHOLE_POOL, SimulationPlan
from segtrust.simulate.replay import run_simulation
from segtrust.simulate.summary import summarise_simulation

__all__ = [
    "BASELINE",
    "MONAI_LABEL",
    "WHOLE_POOL",
    "Effort",
    "ReplayFolder",
    "SimulationPlan",
    "divide_folder",
    "make_realistic",
    "run_simulation",
    "scans_in",
    "summarise_simulation",
]
