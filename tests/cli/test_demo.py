"""The demo from end to end, against the real server with the real model."""

import re

import pytest

from segtrust import cli


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_demo_ranks_the_template_scans_and_writes_the_page(tmp_path, capsys):
    assert cli.main(["demo", "--cohort", "template", "--scans", "3", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "segmenting 3/3" in printed
    ranked = re.findall(r"│ +(\d) │ (template_\w+) +│ (0\.\d{3}) │", printed)
    assert [rank for rank, _, _ in ranked] == ["1", "2", "3"]
    scores = [float(score) for _, _, score in ranked]
    assert scores == sorted(scores, reverse=True)
    assert f"next scan to label, says the server: {ranked[0][1]}" in printed
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<article") == 3
    assert page.count("<svg") == 3 * 3 * 2
    assert "not for diagnosis" in page
    assert (tmp_path / "server.log").stat().st_size > 0
