"""Structures that overlap, whatever shape a scan has and whatever a network says of it."""

import json

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from phantoms import FixedSource, spec_of, version_of
from segtrust.calibrators import choose_served, cross_fitted_errors
from segtrust.calibrators.distance_fit import fit_distance_temperature
from segtrust.evaluate.cases import draw_scan, evaluate_case
from segtrust.inference import Predictor
from segtrust.inference.scan import Scan
from segtrust.models import Head
from segtrust.quality import FineRule, fit_quality
from segtrust.release.gate import judge, pair_scan
from segtrust.release.quality import quality_case

SHAPES = [(1, 1, 7), (1, 5, 1), (2, 1, 1), (3, 4, 5), (1, 2, 3)]
ODD = [float(np.float32(p)) for p in (0, 1, 1e-7, 1 - 2**-24, 0.3, 0.7, 0.5, np.float16(0.3), 1e-40)]


@st.composite
def sites(draw):
    """Five patients of one shape: what two versions say of each scan, and its label."""
    shape = draw(st.sampled_from(SHAPES))
    threshold = draw(st.sampled_from([0.5, (0.3, 0.7), (0.7, 0.3), (1e-6, 0.999999)]))
    order, relation = tuple(draw(st.permutations([1, 2]))), draw(st.sampled_from(["nested", "independent"]))
    head = Head("sigmoid", order, threshold, structures=relation)
    half = draw(st.booleans())
    chances = st.one_of(st.sampled_from(ODD), st.floats(0, 1, width=32))
    labels = st.sampled_from(draw(st.sampled_from([[0], [2], [1], [0, 1], [0, 1, 2]])))
    probs = hnp.arrays(np.float32, (2, 2, *shape), elements=chances)
    patients = [(draw(probs), draw(hnp.arrays(np.int64, shape, elements=labels))) for _ in range(5)]
    return spec_of(head=head, spacing=None, members=1), patients, half


def predictor(spec, probs, half, calibrator=None):
    said = torch.from_numpy(probs).half() if half else torch.from_numpy(probs)
    return Predictor(version_of(spec), source=FixedSource(lambda _: said), calibrator=calibrator)


def scan_of(shape, seed):
    """No voxel is alike another one, so that nothing is cut off as padding."""
    noise = np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape) + 1.0
    return Scan(torch.from_numpy(noise).float()[None], np.diag([1.0, 2.0, 0.7, 1.0]), (1.0, 2.0, 0.7))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(sites())
def test_nothing_that_is_fitted_or_judged_contradicts_the_mask(site):
    spec, patients, half = site
    rule, drawn, pairs = spec.head.rule, [], []
    for number, (probs, labels) in enumerate(patients):
        scan, truth = scan_of(labels.shape, number), torch.from_numpy(labels)
        old, new = (predictor(spec, one, half) for one in probs)
        pairs.append(pair_scan(old, new, scan, truth, subject=str(number), seed=number))
        drawn.append(draw_scan(new, scan, truth, subject=str(number), seed=number))
        assert pairs[-1].healthy == (not labels.any())
        assert all(0 <= dice <= 1 for dice in pairs[-1].dice)
    json.dumps(judge(pairs).figures, allow_nan=False)
    choice = choose_served(drawn, rule=rule)
    json.dumps(choice.to_json(), allow_nan=False)
    counts = cross_fitted_errors(drawn, fit_distance_temperature, rule)
    assert counts.voxels.sum() == pytest.approx(sum(v.weight.sum() for v in drawn))
    wrong = [
        (rule.sets(torch.from_numpy(probs)) != rule.sets_of(torch.from_numpy(labels), 2)).any(dim=0).sum()
        for (_, probs), labels in patients
    ]
    if not half and all((v.weight == 1).all() for v in drawn):  # all voxels are drawn, none is rounded
        assert counts.errors.sum() == pytest.approx(float(sum(wrong)))
    fitted = [choice.calibrator, fit_distance_temperature(drawn)]
    for number, ((_, probs), labels) in enumerate(patients):
        scan, truth = scan_of(labels.shape, number), torch.from_numpy(labels)
        raw = predictor(spec, probs, half).predict_scan(scan)
        for calibrator in fitted:
            got = predictor(spec, probs, half, calibrator).predict_scan(scan)
            assert np.array_equal(got.mask, raw.mask)
            assert np.array_equal(got.sets, raw.sets)
            assert np.isfinite(got.probs).all()
            # the set that a voxel shows never has less than what its own thresholds allow
            chance = got.map("chance_of_error")
            assert ((chance >= 0) & (chance <= 1)).all()
            json.dumps(got.params(), allow_nan=False)
        case = quality_case(raw, scan.data.numpy(), labels, subject=str(number), ordinary=True)
        sets = rule.sets_of(truth, 2).numpy()
        for value, told in case.truth.items():
            both, size = (
                raw.sets[value - 1] & sets[value - 1],
                raw.sets[value - 1].sum() + sets[value - 1].sum(),
            )
            expected = 2 * both.sum() / size if size else np.nan
            assert told.dice == pytest.approx(expected, nan_ok=True)
        system = {
            "raw": (torch.from_numpy(raw.probs), None),
            "fitted": (torch.from_numpy(raw.probs), fitted[1]),
        }
        record = evaluate_case(
            "scan", "patient", system, truth, scan.spacing, raw.valid, main="fitted", rule=rule
        )
        assert record.changed == {"raw": 0, "fitted": 0}


def test_quality_is_fitted_where_a_structure_is_nowhere():
    spec = spec_of(head=Head("sigmoid", (1, 2), structures="nested"), spacing=None, members=1)
    cases = []
    for number in range(12):
        ball = np.zeros((6, 5, 4), np.int64)
        ball[1 : 3 + number % 3] = 1
        probs = np.stack([np.where(ball, 0.8, 0.1), np.full(ball.shape, 0.2)]).astype(np.float32)
        scan = scan_of(ball.shape, number)
        raw = predictor(spec, probs, half=False).predict_scan(scan)
        cases.append(quality_case(raw, scan.data.numpy(), ball, subject=str(number), ordinary=True))
    quality = fit_quality(cases, [1, 2])
    got = quality.assess(cases[0].scores, cases[0].features, FineRule())
    assert got.structures[2].predicted_dice is None
    assert got.structures[1].predicted_dice == pytest.approx(1, abs=0.01)
