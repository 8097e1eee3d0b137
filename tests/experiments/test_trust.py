"""The trust benchmark on two made-up scans: what it measures, and that it goes on where it was."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from phantoms import make_blob, write_scan
from segtrust.calibrators.voxels import stack_voxels
from segtrust.evaluate.protocol import Protocol
from segtrust.evaluate.records import read_records, write_records
from segtrust.experiments.trust import CLEAN, Condition, TrustBenchmark, shift_conditions

PROTOCOL = Path(__file__).parents[2] / "benchmarks" / "protocol.json"
IDS = ["ball0", "ball1"]
NOISE = Condition("noise", 3)


@pytest.fixture
def make(tmp_path, tiny_version):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for seed, name in enumerate(IDS):
        scan = make_blob(seed=seed)
        write_scan(scan, tmp_path / "images" / f"{name}.nii.gz")
        labels = (scan.data[0].numpy() > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), tmp_path / "labels" / f"{name}.nii.gz")

    def benchmark(lines):
        return TrustBenchmark(
            tiny_version, Protocol.read(PROTOCOL), tmp_path,
            calibration=IDS, cache=tmp_path / "cache", say=lines.append,
        )  # fmt: skip

    return benchmark


def test_a_second_run_measures_nothing_again(make):
    first, second = [], []
    before = make(first).records(IDS, CLEAN)
    after = make(second).records(IDS, CLEAN)
    assert all(line.endswith("(known)") for line in second)
    assert not any(line.endswith("(known)") for line in first)
    assert [r.totals["served"]["band"].to_json() for r in before] == [
        r.totals["served"]["band"].to_json() for r in after
    ]


def test_voxels_that_were_drawn_once_are_read_as_they_were(make):
    drawn, read = make([]).voxels, make([]).voxels
    for one, two in zip(drawn, read, strict=True):
        assert vars(one).keys() == vars(two).keys()
        assert all(np.array_equal(value, vars(two)[name]) for name, value in vars(one).items())
    assert stack_voxels(read).nll(np.ones(sum(len(v.weight) for v in read))) == pytest.approx(
        stack_voxels(drawn).nll(np.ones(sum(len(v.weight) for v in drawn)))
    )


def test_one_plain_line_is_said_per_scan_and_condition(make):
    lines = []
    make(lines).records(IDS, NOISE)
    assert [line.split(" Dice")[0] for line in lines[-2:]] == ["noise-3 1/2 ball0", "noise-3 2/2 ball1"]


@pytest.mark.slow
def test_clean_scans_and_shifts_are_never_in_one_figure(make, tmp_path):
    bench = make([])
    clean, noisy = bench.records(IDS, CLEAN), bench.records(IDS, NOISE)
    found = json.loads(
        json.dumps(bench.result(clean, {NOISE: noisy}, role="val", command="c"), allow_nan=False)
    )
    assert set(found["ranking"]) == {"clean", "shifts"}
    assert set(found["ranking"]["shifts"]) == set(found["shifts"]) == {"noise-3"}
    assert found["protocol"] == bench.protocol.hash
    assert found["in_sample"] is True
    # two subjects: no calibrator is fitted, and the identity is chosen
    assert found["calibrators"]["cross_fitted_on_val"]["name"] == "identity"
    write_records(tmp_path / "r.json", bench.record_set(clean, role="val", command="c"))
    assert read_records(tmp_path / "r.json").main == "served"


def test_the_conditions_are_eight_corruptions_at_three_strengths():
    assert len({str(c) for c in shift_conditions()}) == 24
