"""Scores against Dice."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from measured import made_record
from segtrust.errors import SettingError
from segtrust.evaluate.ranking import SCORES, correlation, ranking_table
from segtrust.scores import ScanScores

pairs = st.lists(
    st.tuples(st.floats(0, 1).map(lambda v: round(v, 2)), st.integers(0, 20).map(lambda v: v / 20)),
    min_size=3, max_size=12,
)  # fmt: skip


def of(table, **options):
    return correlation([a for a, _ in table], [np.array([b]) for _, b in table], **options)


def test_every_score_of_a_scan_is_ranked():
    assert set(SCORES) == set(ScanScores.__dataclass_fields__) - {"structures", "details"}


def test_pearson_by_hand():
    # scores 0, 1, 2 and Dice 0, 0, .3: covariance .3, sd sqrt(2) and sqrt(.06)
    found = of([(0, 0.0), (1, 0.0), (2, 0.3)], kind="pearson", of="dice")
    assert found == pytest.approx(0.3 / math.sqrt(2 * 0.06), abs=1e-12)


def test_logit_by_hand():
    # logits of .25, .5 and .75 are -ln 3, 0, ln 3: a straight line
    assert of([(1, 0.25), (2, 0.5), (3, 0.75)], kind="pearson", of="logit_dice") == pytest.approx(1)


@given(pairs)
def test_both_kinds_agree_with_scipy(table):
    a, b = np.array(table).T
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(of(table, kind="pearson", of="dice"))
        return
    for kind, oracle in (("pearson", stats.pearsonr), ("spearman", stats.spearmanr)):
        assert of(table, kind=kind, of="dice") == pytest.approx(oracle(a, b).statistic, abs=1e-9)


def test_scans_without_a_score_or_without_dice_take_no_part():
    dice = [np.array([d]) for d in (0.1, 0.2, 0.3, math.nan, 0.9)]
    found = correlation([3, 2, 1, 5, None], dice, kind="spearman", of="dice")
    assert found == pytest.approx(-1)


def test_another_kind_is_refused():
    with pytest.raises(SettingError, match="one of pearson, spearman"):
        correlation([1], [np.array([1.0])], kind="kendall", of="dice")


@pytest.mark.slow
def test_the_table_is_json_with_null_where_nothing_is_defined():
    records = [made_record(i, 0.6 + 0.1 * i, reference=tuple(range(2, 4 + i))) for i in range(4)]
    table = json.loads(json.dumps(ranking_table(records, "ensemble"), allow_nan=False))
    assert set(table) == set(SCORES)
    # sure and wrong: entropy falls as Dice falls
    assert table["entropy"]["dice"]["spearman"]["value"] == pytest.approx(1)
    assert table["entropy"]["scans"] == 4
    assert table["pairwise_dice"]["logit_dice"]["pearson"]["value"] is None
    assert table["pairwise_dice"]["scans"] == 0
