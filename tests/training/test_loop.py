"""The loop of one member: seeded, resumable, and strict about its settings."""

import dataclasses
import json
import os

import pytest
import torch

from interrupted import InterruptedRunError, stop_after
from labelled_site import small_files
from phantoms import TINY_NETWORK, make_blob, spec_of
from segtrust.errors import SettingError, TrainingError
from segtrust.inference.members import load_member, load_weights
from segtrust.inference.scan import prepare
from segtrust.losses import LOSSES, parse_loss
from segtrust.models import Head, Label
from segtrust.training import Budget, Case, loop, train_member
from segtrust.training.loop import data_digest, run_settings

SPEC = spec_of(
    labels=(Label("ball", 1, 1),), patch=(8, 8, 8), network={**TINY_NETWORK, "out_channels": 2}, members=1
)
BUDGET = Budget(epochs=3, batch=2)


@pytest.fixture(scope="module")
def cases():
    scans = [make_blob((10, 9, 8), radius=3.0, seed=seed) for seed in range(3)]
    images = [prepare(scan, SPEC).image for scan in scans]
    return [Case(str(i), str(i), image, (image[0] > 1).long()) for i, image in enumerate(images)]


def weights(path):
    return load_weights(path)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def straight(cases, tmp_path_factory):
    """Weights of a run that was not interrupted."""
    return weights(train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path_factory.mktemp("run")))


@pytest.mark.parametrize("epoch", [1, 2])
def test_an_interrupted_run_ends_bit_identical(cases, straight, tmp_path, epoch):
    with pytest.raises(InterruptedRunError):
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=stop_after(epoch))
    assert not (tmp_path / "member.safetensors").exists()
    torch.manual_seed(99)  # another process has another random state
    epochs = []
    result = train_member(
        SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=lambda r: epochs.append(r.epoch)
    )
    assert same(weights(result), straight)
    assert epochs == list(range(epoch + 1, 4))


def test_a_run_with_dropout_that_was_interrupted_ends_bit_identical(cases, tmp_path):
    spec = dataclasses.replace(SPEC, network={**SPEC.network, "dropout": 0.3})
    whole = weights(train_member(spec, cases, BUDGET, seed=1, folder=tmp_path / "whole"))
    with pytest.raises(InterruptedRunError):
        train_member(spec, cases, BUDGET, seed=1, folder=tmp_path / "parts", progress=stop_after(1))
    assert same(whole, weights(train_member(spec, cases, BUDGET, seed=1, folder=tmp_path / "parts")))


def test_the_order_in_which_cases_are_given_changes_nothing(cases, straight, tmp_path):
    assert same(straight, weights(train_member(SPEC, cases[::-1], BUDGET, seed=1, folder=tmp_path)))


def test_the_same_seed_gives_the_same_member(cases, straight, tmp_path):
    assert same(weights(train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)), straight)


def test_another_seed_gives_another_member(cases, straight, tmp_path):
    assert not same(weights(train_member(SPEC, cases, BUDGET, seed=2, folder=tmp_path)), straight)


def test_a_finished_member_is_not_trained_again(cases, tmp_path):
    first = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)
    before = first.stat().st_mtime_ns
    epochs = []
    again = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=epochs.append)
    assert (again, again.stat().st_mtime_ns, epochs) == (first, before, [])


def test_a_finished_run_leaves_a_member_that_loads_and_no_checkpoint(cases, tmp_path):
    result = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)
    load_member(SPEC, result)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["member.safetensors", "run.json"]


@pytest.mark.parametrize(
    "change",
    [
        lambda run: run | {"seed": 2},
        lambda run: run | {"budget": dataclasses.replace(BUDGET, learning_rate=1e-3)},
        lambda run: run | {"spec": dataclasses.replace(SPEC, overlap=0.5)},
        lambda run: run | {"cases": run["cases"][:2]},
        lambda run: run | {"cases": [dataclasses.replace(c, labels=1 - c.labels) for c in run["cases"]]},
    ],
    ids=["seed", "learning rate", "specification", "fewer cases", "other labels"],
)
def test_a_folder_with_a_run_of_other_settings_is_refused(cases, tmp_path, change):
    run = {"spec": SPEC, "cases": cases, "budget": BUDGET, "seed": 1}
    with pytest.raises(InterruptedRunError):
        train_member(**run, folder=tmp_path, progress=stop_after(1))
    settings = (tmp_path / "run.json").read_text()
    with pytest.raises(
        TrainingError, match=r"must hold a run with the same settings, got another\. Use a new folder"
    ):
        train_member(**change(run), folder=tmp_path)
    assert (tmp_path / "run.json").read_text() == settings
    assert "budget" in json.loads(settings)


def test_training_lowers_the_loss(cases, tmp_path):
    losses = []
    budget = Budget(epochs=12, batch=3, learning_rate=1e-2, average=0.0)
    train_member(SPEC, cases, budget, seed=0, folder=tmp_path, progress=lambda r: losses.append(r.loss))
    assert losses[-1] < 0.7 * losses[0]


def test_without_scans_there_is_no_training(tmp_path):
    with pytest.raises(TrainingError, match="needs at least one labelled scan, got none"):
        train_member(SPEC, [], BUDGET, seed=0, folder=tmp_path)


def test_an_unknown_loss_is_refused_with_the_known_ones(cases, tmp_path):
    with pytest.raises(TrainingError, match=r"`loss` must be one of ce, dice, dice_ce.*, got 'tversky'"):
        train_member(SPEC, cases, Budget(loss="tversky"), seed=0, folder=tmp_path)
    assert not any(tmp_path.iterdir())


def test_a_named_loss_trains_as_its_function_does(cases, straight, tmp_path, monkeypatch):
    # members that were trained before losses could be summed stay what they are
    monkeypatch.setattr(
        loop, "parse_loss", lambda text: lambda logits, labels, **_: LOSSES[text](logits, labels)
    )
    assert same(straight, weights(train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)))


def test_the_warm_up_of_a_loss_follows_the_steps_of_the_whole_run(cases, tmp_path, monkeypatch):
    seen = []

    def watched(text):
        loss = parse_loss(text)
        return lambda *batch, progress, head: seen.append((progress, head)) or loss(*batch, progress=progress)

    monkeypatch.setattr(loop, "parse_loss", watched)
    with pytest.raises(InterruptedRunError):  # 3 cases in batches of 2: two steps an epoch, three epochs
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=stop_after(2))
    train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)
    assert seen == [(pytest.approx(step / 6), "softmax") for step in range(6)]


def test_a_model_with_a_sigmoid_head_learns(cases, tmp_path):
    spec = dataclasses.replace(
        SPEC, head=Head("sigmoid", priority=(1,)), network={**TINY_NETWORK, "out_channels": 1}
    )
    losses = []
    budget = Budget(epochs=6, batch=3, learning_rate=1e-2, average=0.0)
    train_member(spec, cases, budget, seed=0, folder=tmp_path, progress=lambda r: losses.append(r.loss))
    assert losses[-1] < 0.9 * losses[0]


def test_nested_structures_are_learnt_as_the_sets_that_they_are(cases, tmp_path, monkeypatch):
    spec = dataclasses.replace(
        SPEC,
        labels=(Label("ball", 1, 1), Label("core", 2, 2)),
        head=Head("sigmoid", priority=(1, 2), structures="nested"),
        network={**TINY_NETWORK, "out_channels": 2},
    )
    seen = []

    def watched(text):
        loss = parse_loss(text)
        return lambda logits, labels, **options: seen.append(labels) or loss(logits, labels, **options)

    monkeypatch.setattr(loop, "parse_loss", watched)
    inner = [dataclasses.replace(case, labels=2 * case.labels) for case in cases]
    train_member(spec, inner, BUDGET, seed=0, folder=tmp_path)
    for sets in seen:  # all that is in the core is in the ball
        assert sets.shape[1] == 2
        assert torch.equal(sets[:, 0], sets[:, 1])
    assert any(sets.any() for sets in seen)


def test_a_loss_that_is_not_finite_stops_the_run(cases, tmp_path):
    broken = [dataclasses.replace(c, image=c.image * float("inf")) for c in cases]
    with pytest.raises(TrainingError, match="the loss must stay finite, got nan in epoch 1"):
        train_member(SPEC, broken, BUDGET, seed=0, folder=tmp_path)
    assert not (tmp_path / "member.safetensors").exists()


def test_the_digest_names_the_content_and_not_the_order(cases):
    assert data_digest(cases) == data_digest(cases[::-1])
    changed = [dataclasses.replace(cases[0], image=cases[0].image + 1e-3), *cases[1:]]
    assert data_digest(changed) != data_digest(cases)


def test_progress_tells_how_long_it_still_takes(cases, tmp_path):
    reports = []
    train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=reports.append)
    assert [(r.epoch, r.epochs) for r in reports] == [(1, 3), (2, 3), (3, 3)]
    assert all(r.seconds > 0 for r in reports)
    assert reports[-1].left == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_on_a_gpu_gives_a_member_for_the_cpu(cases, tmp_path):
    result = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, device="cuda")
    assert all(
        torch.isfinite(tensor).all() for tensor in weights(result).values() if tensor.is_floating_point()
    )


# --- what a round adds -------------------------------------------------------------------------------------


def test_options_that_are_not_used_leave_the_name_of_a_run_as_it_was(cases):
    settings = run_settings(SPEC, cases, BUDGET, seed=1)
    assert set(settings) == {"spec", "budget", "seed", "code", "cases", "data"}
    known = "epochs batch learning_rate weight_decay warm_up average loss flip_axes augment"
    assert set(settings["budget"]) == set(known.split())
    assert run_settings(SPEC, cases, Budget(patches=4), seed=1)["budget"]["patches"] == 4


def test_a_warm_start_begins_where_the_other_member_ended(cases, straight, tmp_path):
    start = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path / "first")
    still = Budget(epochs=1, learning_rate=1e-12, weight_decay=0.0, average=0.0)
    warm = weights(train_member(SPEC, cases, still, seed=5, folder=tmp_path / "w", initial=start))
    cold = weights(train_member(SPEC, cases, still, seed=5, folder=tmp_path / "c"))
    name = next(name for name in straight if name.endswith("conv.weight"))
    assert torch.allclose(warm[name], straight[name], atol=1e-6)
    assert not torch.allclose(cold[name], straight[name], atol=1e-2)


def test_other_initial_weights_are_another_run(cases, tmp_path):
    first, second = (
        train_member(SPEC, cases, BUDGET, seed=seed, folder=tmp_path / str(seed)) for seed in (1, 2)
    )
    train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path / "warm", initial=first)
    with pytest.raises(TrainingError, match="same settings"):
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path / "warm", initial=second)


def test_an_epoch_of_more_patches_than_scans_draws_every_scan_about_alike(cases, tmp_path, monkeypatch):
    drawn = []

    class Watched(loop.Augmentation):
        def __call__(self, case, seed):
            drawn.append((case.id, seed))
            return super().__call__(case, seed)

    monkeypatch.setattr(loop, "Augmentation", Watched)
    train_member(SPEC, cases, Budget(epochs=1, patches=7), seed=1, folder=tmp_path)
    ids = [name for name, _ in drawn]
    assert sorted(ids.count(name) for name in "012") == [2, 2, 3]
    assert len(set(drawn)) == 7  # each time another patch


@pytest.mark.parametrize(
    "damage", [b"", b"PK\x03\x04 no zip file", None], ids=["empty", "garbage", "cut off"]
)
def test_a_damaged_checkpoint_is_told_and_the_member_starts_again(cases, straight, tmp_path, caplog, damage):
    with pytest.raises(InterruptedRunError):
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=stop_after(2))
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(path.read_bytes()[:5000] if damage is None else damage)
    epochs = []
    again = train_member(
        SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=lambda r: epochs.append(r.epoch)
    )
    assert "checkpoint.pt cannot be read" in caplog.text
    assert "this member starts again" in caplog.text
    assert epochs == [1, 2, 3]
    assert same(weights(again), straight)


def test_a_damaged_finished_member_is_trained_again(cases, straight, tmp_path, caplog):
    member = train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)
    member.write_bytes(member.read_bytes()[:100])
    assert same(weights(train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)), straight)
    assert "A finished member cannot be read and is trained again" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="no limit of file sizes but on POSIX")
def test_a_full_disk_is_named_and_finished_epochs_stay(cases, straight, tmp_path):
    with pytest.raises(InterruptedRunError):
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path, progress=stop_after(1))
    before = (tmp_path / "checkpoint.pt").read_bytes()
    with (
        small_files(2000),
        pytest.raises(TrainingError, match=r"must be writable, got: .*Is the disk full\?"),
    ):
        train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == before
    assert same(weights(train_member(SPEC, cases, BUDGET, seed=1, folder=tmp_path)), straight)


SNAPSHOTS = dataclasses.replace(BUDGET, epochs=4, snapshots=2, average=0.0)


def rates(cases, budget, tmp_path, monkeypatch):
    """Learning rate of every step of a run."""
    seen = []
    step = torch.optim.AdamW.step

    def watched(self, *args, **options):
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **options)

    with monkeypatch.context() as patched:
        patched.setattr(torch.optim.AdamW, "step", watched)
        result = train_member(SPEC, cases, budget, seed=1, folder=tmp_path)
    return seen, loop.member_files(result, budget)


def test_snapshots_are_the_ends_of_equal_cycles_of_the_learning_rate(cases, tmp_path, monkeypatch):
    seen, files = rates(cases, SNAPSHOTS, tmp_path / "two", monkeypatch)
    once, alone = rates(
        cases, dataclasses.replace(BUDGET, epochs=2, average=0.0), tmp_path / "one", monkeypatch
    )
    assert seen == pytest.approx(2 * once)  # 2 epochs of 2 steps, twice
    assert [file.name for file in files] == ["snapshot-1.safetensors", "member.safetensors"]
    assert same(weights(files[0]), weights(alone[0]))  # the first cycle is a run of its own
    assert not same(weights(files[0]), weights(files[1]))


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_run_with_snapshots_ends_bit_identical(cases, tmp_path, epoch):
    whole = train_member(SPEC, cases, SNAPSHOTS, seed=1, folder=tmp_path / "whole")
    with pytest.raises(InterruptedRunError):
        train_member(SPEC, cases, SNAPSHOTS, seed=1, folder=tmp_path / "parts", progress=stop_after(epoch))
    parts = train_member(SPEC, cases, SNAPSHOTS, seed=1, folder=tmp_path / "parts")
    pairs = zip(loop.member_files(whole, SNAPSHOTS), loop.member_files(parts, SNAPSHOTS), strict=True)
    assert all(same(weights(one), weights(two)) for one, two in pairs)


def test_cycles_must_be_whole_epochs():
    with pytest.raises(SettingError, match=r"`epochs` must be a multiple of `snapshots`.* got 5 and 2"):
        Budget(epochs=5, snapshots=2)


def test_a_run_without_snapshots_keeps_the_name_it_had(cases):
    settings = run_settings(SPEC, cases, BUDGET, seed=1)["budget"]
    assert not {"snapshots", "patches"} & set(settings)
    assert run_settings(SPEC, cases, SNAPSHOTS, seed=1)["budget"]["snapshots"] == 2
