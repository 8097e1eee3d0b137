"""Arms: where samples come from, and that calibrators of a scan never saw it."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from phantoms import TINY_NETWORK, make_blob, spec_of, write_scan
from segtrust.calibrators import Identity
from segtrust.calibrators.covariate import PARTS
from segtrust.errors import SettingError
from segtrust.evaluate.pools import Pool
from segtrust.experiments.arm_comparison import ArmComparison, GroupedScan, segment_entropy_name
from segtrust.experiments.arm_figures import (
    corrected_differences,
    entropy_correlations,
    relative_cut,
    system_intervals,
)
from segtrust.experiments.arms import Arm
from segtrust.experiments.crossfit import system_name
from segtrust.inference.members import build_network, load_member, save_weights
from segtrust.inference.scan import prepare
from segtrust.inference.windows import slide
from segtrust.models import Head, Label
from segtrust.training.cases import cases_in, read_pair

SPEC = spec_of(labels=(Label("ball", 1, 1),), patch=(16, 16, 16), network={**TINY_NETWORK, "out_channels": 2})
WITH_DROPOUT = replace(SPEC, network={**SPEC.network, "dropout": 0.4})
STOCHASTIC = replace(SPEC, network={**SPEC.network, "out_channels": 8}, head=Head(rank=2))


def weights(spec, seed, path):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        save_weights(build_network(spec), path)
    return path


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two scans of each of six subjects, three subjects a group."""
    folder = tmp_path_factory.mktemp("cohort")
    for name in ("images", "labels"):
        (folder / name).mkdir()
    owners = {f"{subject}{side}": subject for subject in "abcdef" for side in "LR"}
    for seed, name in enumerate(owners):
        scan = make_blob((12, 12, 12), radius=3 + seed % 3, seed=seed)
        write_scan(scan, folder / "images" / f"{name}.nii.gz")
        labels = (scan.data[0].numpy() > 50).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, scan.affine), folder / "labels" / f"{name}.nii.gz")
    (folder / "subjects.csv").write_text("case,subject\n" + "".join(f"{s},{o}\n" for s, o in owners.items()))
    return [GroupedScan(f, "0" if f.subject in "abc" else "1") for f in cases_in(folder, owners)]


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    return {
        group: tuple(weights(SPEC, 10 * int(group) + i, folder / f"{group}{i}.safetensors") for i in (0, 1))
        for group in ("0", "1")
    }


def prepared_of(scan):
    return prepare(read_pair(scan.files, SPEC)[0], SPEC)


def by_hand(spec, path, image):
    return slide(load_member(spec, path), image, spec)


def test_an_ensemble_is_the_mean_of_its_members(scans, members, tmp_path):
    arm = Arm(name="two", spec=SPEC, members=members, sizes=(1, 2))
    prepared = prepared_of(scans[0])
    one, two = (by_hand(SPEC, path, prepared.image) for path in members["0"])
    got = arm.means(prepared, "0", tmp_path)
    # kept as logarithms in half precision: three digits
    torch.testing.assert_close(got[1], one.as_subclass(torch.Tensor), atol=1e-3, rtol=0)
    torch.testing.assert_close(got[2], ((one + two) / 2).as_subclass(torch.Tensor), atol=1e-3, rtol=0)


def test_views_are_those_of_the_first_member_turned_back(scans, members, tmp_path):
    arm = Arm(name="views", spec=SPEC, members=members, kind="views", sizes=(2,), axes=(0,))
    prepared = prepared_of(scans[1])
    plain = by_hand(SPEC, members["0"][0], prepared.image)
    turned = by_hand(SPEC, members["0"][0], prepared.image.flip([1])).flip([1])
    got = arm.means(prepared, "0", tmp_path)[2]
    torch.testing.assert_close(got, ((plain + turned) / 2).as_subclass(torch.Tensor), atol=1e-3, rtol=0)
    assert not torch.allclose(plain, turned, atol=1e-3)


@pytest.mark.parametrize(("kind", "spec"), [("dropout", WITH_DROPOUT), ("draws", STOCHASTIC)])
def test_random_samples_differ_from_each_other_and_are_the_same_again(scans, tmp_path, kind, spec):
    own = {"0": (weights(spec, 3, tmp_path / "m.safetensors"),)}
    arm = Arm(name=kind, spec=spec, members=own, kind=kind, sizes=(2, 4))
    prepared = prepared_of(scans[0])
    got, again = (arm.means(prepared, "0", tmp_path / name) for name in ("one", "two"))
    assert not torch.allclose(got[2], got[4], atol=1e-3)
    for size in (2, 4):
        assert torch.equal(got[size], again[size])
        torch.testing.assert_close(got[size].sum(dim=0), torch.ones(12, 12, 12))


def test_what_was_computed_once_is_read(scans, members, tmp_path, monkeypatch):
    arm = Arm(name="one", spec=SPEC, members=members)
    prepared = prepared_of(scans[0])
    first = arm.means(prepared, "0", tmp_path)[1]
    monkeypatch.setattr(Arm, "source", lambda *_: pytest.fail("a network was asked again"))
    assert torch.equal(arm.means(prepared, "0", tmp_path)[1], first)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sizes": (2, 1)}, "ascending"),
        ({"sizes": (3,)}, "at least 3 members"),
        ({"kind": "views", "sizes": (4,)}, "make 2 views"),
    ],
)
def test_an_arm_that_cannot_be_is_refused(members, changes, words):
    with pytest.raises(SettingError, match=words):
        Arm(name="wrong", spec=SPEC, members=members, **changes)


def test_draws_need_a_stochastic_head(members, tmp_path):
    arm = Arm(name="draws", spec=SPEC, members=members, kind="draws", sizes=(2,))
    with pytest.raises(SettingError, match="stochastic head"):
        arm.source("0", tmp_path)


@pytest.fixture(scope="module")
def fit(scans, members, tmp_path_factory):
    arms = [
        Arm(name="members", spec=SPEC, members=members, sizes=(1, 2)),
        Arm(name="views", spec=SPEC, members=members, kind="views", sizes=(2,)),
    ]
    fitted_on = {"0": ("1",), "1": ("0",)}
    cache = tmp_path_factory.mktemp("arms")
    return ArmComparison(arms, scans, fitted_on, ("pooled_temperature",), cache)


@pytest.fixture(scope="module")
def records(fit):
    return fit.records()


def test_every_scan_is_judged_under_every_system_in_the_same_voxels(fit, records, scans):
    assert [r.id for r in records] == [s.files.id for s in scans]
    for record in records:
        assert list(record.totals) == fit.systems()
        assert len({totals["band"].n for totals in record.totals.values()}) == 1


def test_a_calibrator_does_not_change_with_the_scans_it_is_for(fit, scans, tmp_path):
    arm = fit.arms[0]
    # without one scan of group 1 the calibrator that is fitted to group 1 changes, that fitted to group 0 not
    fewer = replace(fit, scans=scans[:-1], cache=tmp_path, kinds=("top_label_isotonic",))
    whole = replace(fit, cache=tmp_path, kinds=("top_label_isotonic",))
    one, two = ({k: json.dumps(c.to_json()) for k, c in f.calibrators(arm).items()} for f in (whole, fewer))
    assert one["1", 1, "top_label_isotonic"] == two["1", 1, "top_label_isotonic"]
    assert set(one) == {(g, s, "top_label_isotonic") for g in "01" for s in (1, 2)}


def test_calibrators_are_fitted_with_the_distance_of_a_served_version(fit, tmp_path, monkeypatch):
    seen = []
    spy = {"spy": lambda voxels: seen.extend(voxels) or Identity()}
    monkeypatch.setattr("segtrust.experiments.arm_comparison.CANDIDATES", spy)
    replace(fit, cache=tmp_path, kinds=("spy",)).calibrators(fit.arms[0])
    assert {(voxels.unit, voxels.parts) for voxels in seen} == {("mm", PARTS)}
    assert all(len(voxels.seen) == len(voxels.weight) for voxels in seen)


def test_records_are_read_again_with_the_same_numbers(fit, records, monkeypatch):
    monkeypatch.setattr(ArmComparison, "_judge", lambda *_: pytest.fail("a scan was judged again"))
    again = fit.records()
    name = system_name("views", 2, "pooled_temperature")
    for one, two in zip(records, again, strict=True):
        assert one.totals[name]["band"].nll == two.totals[name]["band"].nll
        assert one.methods == two.methods


def test_a_cut_is_one_less_the_ratio_of_the_nll(records):
    one, two = system_name("members", 1), system_name("members", 2)
    rows = range(len(records))
    first, second = (Pool([r.totals[n]["volume"] for r in records]).figure(rows, "nll") for n in (one, two))
    got = relative_cut(records, one, two, "volume")
    assert got["value"] == pytest.approx(1 - second / first)
    assert (got["low"], got["interval"]) == (None, "n too small")
    assert relative_cut(records, one, one, "band")["value"] == 0


def test_differences_are_paired_and_corrected(records, fit):
    base = system_name("members", 2)
    systems = fit.systems()
    got = corrected_differences(records, systems, base, ("nll_band",))
    assert set(got) == set(systems) - {base}
    table = system_intervals(records, [base, system_name("members", 1)])
    name = system_name("members", 1)
    less = table[name]["nll_band"]["value"] - table[base]["nll_band"]["value"]
    assert got[name]["nll_band"]["value"] == pytest.approx(less)
    smallest = min(found["p"] for found in got.values())
    assert min(found["p_holm"] for found in got.values()) == pytest.approx(min(1, len(got) * smallest))


def test_correlations_are_means_over_groups(records, scans):
    system = system_name("members", 1)
    groups = [s.group for s in scans]
    rows = [r.methods[segment_entropy_name(system, 1)] for r in records]
    dice = np.clip([r.dice[system][0] for r in records], 0.005, 0.995)
    want = []
    for group in "01":
        of = [i for i, g in enumerate(groups) if g == group and rows[i] is not None]
        x, y = np.array([rows[i] for i in of]), np.log(dice[of] / (1 - dice[of]))
        if len(of) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0:
            want.append(np.corrcoef(x, y)[0, 1])
    assert want
    got = entropy_correlations(records, system, groups, 1)
    assert got["1"]["value"] == pytest.approx(np.mean(want))
    assert got["mean"]["value"] == pytest.approx(got["1"]["value"])
