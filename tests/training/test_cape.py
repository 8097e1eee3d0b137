"""The CaPE stage: what it learns, from whom, and that nothing depends on interruptions."""

import dataclasses
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from interrupted import InterruptedRunError, stop_after
from phantoms import TINY_NETWORK, make_blob, spec_of
from segtrust.errors import SettingError, TrainingError
from segtrust.inference.members import build_network, load_member, load_weights, save_weights
from segtrust.inference.scan import prepare
from segtrust.losses import cross_entropy
from segtrust.models import Head, Label
from segtrust.training import Case, cape_stage
from segtrust.training.cape import CapeSettings, tune_member
from segtrust.training.cape_stage import fine_tune, region_weights

LABELS = (Label("ball", 1, 1),)
SPEC = spec_of(labels=LABELS, patch=(8, 8, 8), network={**TINY_NETWORK, "out_channels": 2}, members=1)
SETTINGS = CapeSettings(
    epochs=3, discrimination=1, batch=2, bins=4, least_voxels=1, least_scans=1, band=2, background=0.1
)
SIGMOID = dataclasses.replace(
    SPEC, head=Head("sigmoid", priority=(1,)), network={**TINY_NETWORK, "out_channels": 1}
)
FLAT = dataclasses.replace(
    SPEC,
    spatial_dims=2,
    patch=(8, 8),
    spacing=None,
    network={**SPEC.network, "spatial_dims": 2},
)


@pytest.fixture(scope="module")
def cases():
    images = [prepare(make_blob((10, 9, 8), radius=3.0, seed=s), SPEC).image for s in range(3)]
    return [Case(str(i), str(i), image, (image[0] > 1).long()) for i, image in enumerate(images)]


def member_of(spec, path):
    torch.manual_seed(0)
    save_weights(build_network(spec), path)
    return path


@pytest.fixture(scope="module")
def member(tmp_path_factory):
    return member_of(SPEC, tmp_path_factory.mktemp("start") / "member.safetensors")


def same(a, b):
    a, b = load_weights(a), load_weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def with_target(target):
    return dataclasses.replace(SETTINGS, target=target)


class KnownChance(nn.Module):
    """One weight: the logit of the second class is ``steep`` times the image."""

    def __init__(self, steep):
        super().__init__()
        self.steep = nn.Parameter(torch.tensor(float(steep)))

    def forward(self, image):
        logit = self.steep * image
        return torch.cat((torch.zeros_like(logit), logit), dim=1)


def known_batches(n=60, seed=0):
    """Scans whose label comes true with probability sigmoid(image)."""
    generator = torch.Generator().manual_seed(seed)
    image = 2 * torch.randn(n, 1, 8, 8, generator=generator)
    labels = (torch.rand(n, 8, 8, generator=generator) < torch.sigmoid(image[:, 0])).long()
    return [(image[i : i + 4], labels[i : i + 4]) for i in range(0, n, 4)]


@pytest.mark.parametrize("target", ["bin", "kernel", "labels"])
@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_ends_bit_identical(cases, member, tmp_path, target, epoch):
    run = {"seed": 1, "watch": cases[2:]}
    whole = tune_member(SPEC, member, cases[:2], with_target(target), folder=tmp_path / "whole", **run)
    parts = tmp_path / "parts"
    with pytest.raises(InterruptedRunError):
        tune_member(
            SPEC, member, cases[:2], with_target(target), folder=parts, progress=stop_after(epoch), **run
        )
    assert not (parts / "member.safetensors").exists()
    torch.manual_seed(99)  # another process has another random state
    assert same(whole, tune_member(SPEC, member, cases[:2], with_target(target), folder=parts, **run))


@pytest.mark.parametrize("spec", [SPEC, SIGMOID], ids=["softmax", "sigmoid"])
@pytest.mark.parametrize("target", ["bin", "kernel"])
def test_a_member_becomes_a_member_of_the_same_kind(cases, tmp_path, spec, target):
    start = member_of(spec, tmp_path / "start.safetensors")
    result = tune_member(spec, start, cases, with_target(target), seed=0, folder=tmp_path / "run")
    assert sorted(p.name for p in result.parent.iterdir()) == ["member.safetensors", "run.json"]
    assert not same(start, result)
    before, after = load_member(spec, start), load_member(spec, result)
    assert all(torch.isfinite(p).all() for p in after.parameters())
    assert [p.shape for p in before.parameters()] == [p.shape for p in after.parameters()]


def test_a_model_that_works_slice_by_slice_is_tuned_as_well(cases, tmp_path):
    slices = [Case(c.id, c.subject, c.image[..., 4], c.labels[..., 4]) for c in cases]
    start = member_of(FLAT, tmp_path / "start.safetensors")
    result = tune_member(FLAT, start, slices, SETTINGS, seed=0, folder=tmp_path / "run")
    assert not same(start, result)


def test_another_seed_gives_another_member_and_the_same_seed_the_same(cases, member, tmp_path):
    one, again, other = (
        tune_member(SPEC, member, cases, SETTINGS, seed=seed, folder=tmp_path / name)
        for seed, name in ((1, "one"), (1, "again"), (2, "other"))
    )
    assert same(one, again)
    assert not same(one, other)


def test_a_finished_member_is_not_tuned_again(cases, member, tmp_path):
    first = tune_member(SPEC, member, cases, SETTINGS, seed=1, folder=tmp_path)
    epochs = []
    again = tune_member(SPEC, member, cases, SETTINGS, seed=1, folder=tmp_path, progress=epochs.append)
    assert (again, epochs) == (first, [])


@pytest.mark.parametrize("change", ["seed", "settings", "start", "watch"])
def test_a_folder_with_a_run_of_other_settings_is_refused(cases, member, tmp_path, change):
    run = {"member": member, "settings": SETTINGS, "seed": 1, "watch": cases[2:]}
    tune_member(SPEC, cases=cases[:2], folder=tmp_path / "run", **run)
    other = {
        "seed": {"seed": 2},
        "settings": {"settings": with_target("kernel")},
        "start": {"member": tune_member(SPEC, member, cases, SETTINGS, seed=5, folder=tmp_path / "start")},
        "watch": {"watch": []},
    }[change]
    with pytest.raises(TrainingError, match="must hold a run with the same settings"):
        tune_member(SPEC, cases=cases[:2], folder=tmp_path / "run", **{**run, **other})


def test_a_patient_who_is_trained_on_cannot_choose_the_epoch(cases, member, tmp_path):
    other_scan = dataclasses.replace(cases[0], id="another scan")
    with pytest.raises(TrainingError, match="trained on or watched, not both, got 1 in both"):
        tune_member(SPEC, member, cases, SETTINGS, seed=0, folder=tmp_path, watch=[other_scan])


def test_without_scans_there_is_no_tuning(member, tmp_path):
    with pytest.raises(TrainingError, match="needs at least one labelled scan, got none"):
        tune_member(SPEC, member, [], SETTINGS, seed=0, folder=tmp_path)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("target", "bins", "one of bin, kernel, labels, got 'bins'"),
        ("mass", "scans", "one of doubt, voxels, got 'scans'"),
        ("bins", 1, "a whole number from 2 to 100, got 1"),
        ("bins", 5.0, r"a whole number from 2 to 100, got 5\.0"),
        ("sigma", 0.0, r"a number from 0\.001 to 0\.5, got 0\.0"),
        ("background", 0, r"a number from 0\.0001 to 1, got 0"),
        ("epochs", 0, "a whole number from 1 to 10000, got 0"),
        ("learning_rate", float("nan"), "got nan"),
    ],
)
def test_settings_outside_their_limits_are_refused_with_the_limits(field, value, allowed):
    with pytest.raises(SettingError, match=f"`{field}` must be .*{allowed}"):
        CapeSettings(**{field: value})


def test_one_epoch_calibrates_and_the_next_ones_discriminate():
    settings = CapeSettings(discrimination=2)
    assert [settings.calibrates(e) for e in range(7)] == [True, False, False, True, False, False, True]
    assert not any(dataclasses.replace(settings, target="labels").calibrates(e) for e in range(7))


def test_targets_come_from_a_copy_that_stands_still_for_the_epoch(tmp_path, monkeypatch):
    seen = []

    def watched(table, probs, *, head):
        seen.append(probs)
        return look_up(table, probs, head=head)

    look_up = cape_stage.look_up
    monkeypatch.setattr(cape_stage, "look_up", watched)
    batches = known_batches()
    start = KnownChance(3)
    settings = dataclasses.replace(SETTINGS, epochs=1, learning_rate=0.1)
    tuned = fine_tune(start, lambda _: batches, settings, seed=0, checkpoint=tmp_path / "c.pt")
    assert tuned.network.steep != start.steep
    for probs, (image, _) in zip(seen, batches, strict=True):
        torch.testing.assert_close(probs, torch.softmax(start(image), 1))


@pytest.mark.parametrize("target", ["bin", "kernel"])
def test_a_network_that_is_too_sure_learns_how_often_it_is_right(tmp_path, target):
    settings = dataclasses.replace(
        with_target(target), epochs=8, discrimination=0, bins=10, learning_rate=0.1, background=1.0
    )
    batches = known_batches()
    tuned = fine_tune(KnownChance(3), lambda _: batches, settings, seed=0, checkpoint=tmp_path / "c.pt")
    assert tuned.network.steep.item() == pytest.approx(1, abs=0.15)


def test_the_control_goes_on_with_cross_entropy(tmp_path):
    # all voxels count once: one step of AdamW on the mean cross-entropy
    settings = dataclasses.replace(with_target("labels"), epochs=1, background=1.0, learning_rate=0.01)
    batch = known_batches(4)
    tuned = fine_tune(KnownChance(3), lambda _: batch, settings, seed=0, checkpoint=tmp_path / "c.pt")
    plain = KnownChance(3)
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.01, weight_decay=settings.weight_decay)
    cross_entropy(plain(batch[0][0]), batch[0][1]).backward()
    optimizer.step()
    assert tuned.network.steep.item() == pytest.approx(plain.steep.item(), abs=1e-6)


def test_the_epoch_with_the_lowest_watched_loss_is_kept(tmp_path):
    # a rate so high that it jumps to and fro
    settings = dataclasses.replace(with_target("labels"), epochs=6, learning_rate=0.9)
    batches, watch = known_batches(), known_batches(seed=1)
    tuned = fine_tune(
        KnownChance(1.5),
        lambda _: batches,
        settings,
        seed=0,
        checkpoint=tmp_path / "c.pt",
        watch=lambda: watch,
    )

    def loss(network):
        return sum(cross_entropy(network(i), y).item() for i, y in watch) / len(watch)

    assert len(tuned.watched) == 7
    assert loss(tuned.network) == pytest.approx(min(tuned.watched), rel=1e-5)
    assert loss(tuned.last) == pytest.approx(tuned.watched[-1], rel=1e-5)
    assert tuned.watched[-1] > min(tuned.watched)


def test_a_start_that_nothing_beats_is_kept(tmp_path):
    settings = dataclasses.replace(with_target("labels"), epochs=2, learning_rate=1.0)
    batches = known_batches()
    tuned = fine_tune(
        KnownChance(1), lambda _: batches, settings, seed=0, checkpoint=tmp_path / "c.pt", watch=known_batches
    )
    assert tuned.network.steep == 1


def test_a_loss_that_is_not_finite_stops_the_run(cases, member, tmp_path):
    broken = [dataclasses.replace(c, image=c.image * float("inf")) for c in cases]
    with pytest.raises(TrainingError, match="the loss must stay finite, got nan in epoch 1"):
        tune_member(SPEC, member, broken, with_target("labels"), seed=0, folder=tmp_path)
    assert not (tmp_path / "member.safetensors").exists()


@pytest.mark.parametrize("shape", [(9,), (9, 7), (9, 7, 5)], ids=["1-D", "2-D", "3-D"])
def test_the_band_is_a_cube_around_the_foreground(shape):
    foreground = torch.zeros(1, *shape, dtype=torch.bool)
    foreground[(0, *(4 if n == 9 else 2 for n in shape))] = True
    weights = region_weights(foreground, band=1, background=1e-4, generator=torch.Generator().manual_seed(0))
    assert (weights == 1).sum() == 3 ** len(shape)


def test_drawn_background_stands_for_all_of_it():
    foreground = torch.zeros(1, 100, 100, dtype=torch.bool)
    foreground[0, 50, 50] = True
    generator = torch.Generator().manual_seed(0)
    sums = torch.stack(
        [region_weights(foreground, band=3, background=0.01, generator=generator).sum() for _ in range(200)]
    )
    # one sum has a standard deviation of 100 sqrt(9951 * .01 * .99) = 993; their mean of 70
    assert sums.mean().item() == pytest.approx(10_000, abs=210)


def test_the_page_lists_every_setting_with_its_default():
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "cape.md").read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|", page, re.M)
    shown = {
        n: d for names, values in rows for n, d in zip(names.split(", "), values.split(", "), strict=False)
    }
    for field in dataclasses.fields(CapeSettings):
        default = field.default if field.default != () else "none"
        assert shown[f"`{field.name}`"].strip("`").startswith(str(default)), field.name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_a_gpu_gives_a_member_for_the_cpu(cases, member, tmp_path):
    result = tune_member(SPEC, member, cases, SETTINGS, seed=1, folder=tmp_path, device="cuda")
    assert all(torch.isfinite(p).all() for p in load_member(SPEC, result).parameters())
