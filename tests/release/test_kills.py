"""Twenty kills while a site trains and publishes: what is served stays whole every time."""

import multiprocessing
import os
import random
import time
from pathlib import Path

import pytest

from killed import publish_for_ever, train_for_ever
from labelled_site import KEY, make_site
from segtrust.inference import Predictor
from segtrust.models import adopt_version, list_versions, open_version, published_versions
from segtrust.release.plan import RoundSettings
from segtrust.release.round import run_round

KILLS = 10


@pytest.fixture
def site(tmp_path):
    """A site that serves a copy of the shipped version, and its labelled scans."""
    scans = make_site(tmp_path, ["train"] * 3 + ["calibration"])
    adopt_version(open_version(tmp_path / "shipped" / "balls"), tmp_path / "site" / "balls")
    return tmp_path, scans


def count(lines: Path) -> int:
    return lines.read_text(encoding="utf-8").count("\n")


def killed_after(target, arguments, lines, wanted, jitter):
    """Start a process, wait until it wrote ``wanted`` more lines and a moment longer, and kill it at work."""
    before, deadline = count(lines), time.monotonic() + 120
    process = multiprocessing.get_context("forkserver").Process(target=target, args=arguments)
    process.start()
    while count(lines) < before + wanted:
        assert process.is_alive(), f"ended by itself with {process.exitcode}"
        assert time.monotonic() < deadline, "wrote nothing for two minutes"
        time.sleep(0.002)
    time.sleep(jitter)  # a moment inside a step, which no line marks
    process.kill()
    process.join(60)
    assert process.exitcode == -9
    process.close()


def check_served(model, scan):
    """The served version is one that was published, every byte of it checks, and it segments a scan."""
    served = open_version(model)
    assert served.id in published_versions(model)
    assert Predictor(served).predict(scan).members == 2
    for version_id in list_versions(model):
        open_version(model, version_id)
    return served


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="no fork server but on POSIX")
@pytest.mark.timeout(400)
def test_twenty_kills_leave_a_whole_version_served(site):
    folder, scans = site
    model, lines, rng = folder / "site" / "balls", folder / "lines.txt", random.Random(20)
    lines.touch()
    multiprocessing.get_context("forkserver").set_forkserver_preload(["segtrust.release.round"])
    seen, halfway = [], 0
    for _ in range(KILLS):
        # a round that is not interrupted writes 9 lines: 2 epochs and an end of 2 members, and 3 later steps
        arguments = (str(folder), scans, str(lines))
        killed_after(train_for_ever, arguments, lines, rng.randint(1, 9), rng.uniform(0, 0.1))
        seen.append(check_served(model, scans[0].image).id)
        halfway += any(folder.glob("cache/*/checkpoint.pt"))
    assert halfway  # some members were killed between two epochs, and went on in the next round
    for _ in range(KILLS):
        arguments = (str(folder), str(lines))
        killed_after(publish_for_ever, arguments, lines, rng.randint(1, 3), rng.uniform(0, 0.03))
        seen.append(check_served(model, scans[0].image).id)
    assert seen == sorted(seen)
    assert len(set(seen)) > KILLS  # it was published all along

    # after all that a round ends as ever, and what the killed ones left half written is gone
    result = run_round(
        model, folder / "site", scans, RoundSettings(epochs=1), cache=folder / "cache", key=KEY
    )
    assert open_version(model).id == result.version == list_versions(model)[-1]
    assert not list(model.glob("versions/.draft-*"))
    assert not list(model.glob(".current.*"))
