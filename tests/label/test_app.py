"""The app inside one process: what it wires, and what it refuses."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import scipy.stats
import torch
from monailabel.config import settings as platform
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.utils.others.class_utils import get_class_of_subclass_from_file

from labelled_site import give_roles
from phantoms import spec_of
from segtrust.calibrators import Identity, fit_pooled_temperature
from segtrust.calibrators.observe import cross_fitted_errors
from segtrust.errors import ModelNotFoundError, ScanError, SettingError
from segtrust.evaluate.cases import draw_scan, evaluate_case
from segtrust.inference import Predictor
from segtrust.inference.members import build_network, save_weights
from segtrust.inference.scan import read_scan
from segtrust.label.app import SegtrustApp
from segtrust.label.failures import LabelError
from segtrust.models import Head, Intensity, Label, open_version, publish_version

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make_app(monkeypatch, tmp_path, tiny_scan):
    """Build an app over one scan `ball`; nothing watches the folder."""
    monkeypatch.setattr(platform, "MONAI_LABEL_DATASTORE_AUTO_RELOAD", False)
    monkeypatch.setattr(platform, "MONAI_LABEL_SESSION_PATH", str(tmp_path / "sessions"))
    studies = tmp_path / "studies"
    studies.mkdir()
    shutil.copyfile(tiny_scan, studies / "ball.nii.gz")

    class App(SegtrustApp, MONAILabelApp):
        pass

    def make(*model_folders, **conf):
        models = tmp_path / "found"
        models.mkdir(exist_ok=True)
        for folder in model_folders:
            shutil.copytree(folder, models / folder.name, dirs_exist_ok=True)
        names = ",".join(folder.name for folder in model_folders)
        conf = {"models_dir": str(models), "models": names, "server_mode": "true"} | conf
        return App(str(tmp_path), str(studies), conf, name="test", description="A test.")

    return make


@pytest.mark.parametrize(
    ("app", "name"),
    [("apps/uncertainty", "UncertaintyApp"), ("sample-apps/hippocampus", "HippocampusApp")],
)
def test_monai_label_finds_the_class_of_the_app_and_not_the_mixin(app, name):
    found = get_class_of_subclass_from_file("main", str(ROOT / app / "main.py"), "MONAILabelApp")
    assert found.__name__ == name


def test_one_model_gives_three_tasks_and_bands_without_its_name(make_app, tiny_model):
    app = make_app(tiny_model)
    assert list(app._infers) == ["tiny", "tiny_uncertainty", "tiny_with_uncertainty"]
    assert app.info()["labels"][2:] == [
        "chance of error above 1 in 3",
        "front sure part - do not measure",
        "back sure part - do not measure",
        "front",
        "back",
    ]
    assert app.state_dir == Path(app.studies) / ".segtrust"
    assert app.info()["description"] == "A test. For annotation and research, not for diagnosis."


def test_bands_of_two_models_have_different_names(make_app, tiny_model, make_model, tiny_spec):
    other = make_model(replace(tiny_spec, name="other", labels=(Label("top", 1, 1), Label("bottom", 2, 2))))
    labels = make_app(tiny_model, other).info()["labels"]
    assert len(labels) == len(set(labels)) == 3 + 3 + 2 * (2 + 2)
    assert labels[0] == "chance of error 1 in 20 to 1 in 5 (tiny)"
    assert labels[-4:] == ["front", "back", "top", "bottom"]


def test_bands_follow_the_setting(make_app, tiny_model):
    labels = make_app(tiny_model, band_edges="0.1,0.25,0.5").info()["labels"]
    assert labels[0] == "chance of error 1 in 10 to 1 in 4"


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        ({"modells": "x"}, "unknown setting 'modells'"),
        ({"ohif_strategy": "best"}, "`ohif_strategy` must be one of entropy, uniform"),
        ({"ohif_strategy": "random"}, "`ohif_strategy` must be one of entropy, uniform"),
    ],
    ids=str,
)
def test_a_bad_setting_stops_the_start(make_app, tiny_model, conf, words):
    with pytest.raises(SettingError, match=words):
        make_app(tiny_model, **conf)


def test_options_are_of_types_that_both_viewers_send_back_unharmed(make_app, tiny_model):
    # Slicer's lists must hold strings; OHIF turns 1.0 into 1 and 0.7 into 0, and takes parts of dictionaries
    info = make_app(tiny_model).info()
    tasks = {**info["models"], **info["strategies"], **info["scoring"], **info["trainers"]}
    assert {"tiny", "tiny_uncertainty", "tiny_with_uncertainty", "entropy", "uniform", "random"} <= set(tasks)
    for name, task in tasks.items():
        for option, value in task.get("config", {}).items():
            if isinstance(value, list):
                assert value, (name, option)
                assert all(isinstance(choice, str) for choice in value), (name, option)
            else:
                assert isinstance(value, str | bool | int | float), (name, option)
                assert not isinstance(value, float) or not value.is_integer(), (name, option)


def test_the_key_random_follows_the_setting(make_app, tiny_model):
    app = make_app(tiny_model, ohif_strategy="uniform")
    give_roles(app.store, {"ball": ("ball", "train")})
    assert app.next_sample({"strategy": "random", "seed": 1})["strategy"] == "uniform"


def test_an_image_is_an_id_and_never_a_path(make_app, tiny_model, tiny_scan):
    app = make_app(tiny_model)
    with pytest.raises(ScanError, match="no scan"):
        app.infer({"model": "tiny", "image": str(tiny_scan)})
    session = Path(app.sessions().store_path) / "somebody" / "scan.nii.gz"
    session.parent.mkdir(parents=True)
    shutil.copyfile(tiny_scan, session)
    for path in (session, session.parent, session.parents[1]):  # of somebody else, whose session has a name
        with pytest.raises(ScanError, match="no scan"):
            app.infer({"model": "tiny", "image": str(path)})
        with pytest.raises(ScanError, match="no scan"):
            app.prediction("tiny", str(path))
    Path(app.infer({"model": "tiny", "image": session})["file"]).unlink()  # what the route of inference says
    Path(app.infer({"model": "tiny", "image": "ball"})["file"]).unlink()


def test_an_unknown_model_is_named_with_those_served(make_app, tiny_model):
    with pytest.raises(ModelNotFoundError, match="Served: tiny, tiny_uncertainty"):
        make_app(tiny_model).infer({"model": "spleen", "image": "ball"})


def test_a_result_is_kept_under_the_tag_asked_for(make_app, tiny_model):
    app = make_app(tiny_model)
    result = app.infer({"model": "tiny", "image": "ball", "save_label": True, "label_tag": "version_1"})
    Path(result["file"]).unlink()
    assert Path(app.datastore().get_label_uri("ball", "version_1")).is_file()
    assert app.datastore().get_label_info("ball", "version_1")["model"] == "tiny"


@pytest.mark.parametrize("task", ["tiny", "tiny_uncertainty", "tiny_with_uncertainty"])
@pytest.mark.parametrize("tag", ["final", DefaultLabelTag.FINAL])
def test_no_result_becomes_a_final_label(make_app, tiny_model, task, tag):
    app = make_app(tiny_model)
    with pytest.raises(LabelError, match="result that nobody looked at"):
        app.infer({"model": task, "image": "ball", "save_label": True, "label_tag": tag})
    with pytest.raises(LabelError, match="result that nobody looked at"):
        app.batch_infer({"model": task, "label_tag": tag, "max_workers": 1})
    assert app.datastore().get_labeled_images() == []


def test_whole_slide_inference_is_off(make_app, tiny_model, tmp_path):
    app = make_app(tiny_model)
    with pytest.raises(ModelNotFoundError, match="whole slides"):
        app.infer_wsi({"model": "tiny", "image": str(tmp_path / "studies" / "labels")})
    assert (tmp_path / "studies" / "labels").is_dir()


def test_nothing_is_scored_unless_somebody_asks(make_app, tiny_model):
    app = make_app(tiny_model)
    assert app.async_scoring(None) == {}
    assert app._auto_update_scoring is False
    assert app.scoring_worker.runs() == []


def test_with_the_setting_a_next_sample_has_scores_made_in_the_background(make_app, tiny_model):
    app = make_app(tiny_model, auto_score="true")
    assert app.next_sample({"strategy": "uniform"})["id"] == "ball"
    (run,) = app.scoring_worker.runs()
    assert app.scoring_worker.wait(run, 120)
    assert run.scores.keys() == {"ball"}


def test_who_asks_for_scores_in_python_gets_a_task_and_other_processes_ask_the_server(
    make_app, tiny_model, monkeypatch
):
    app = make_app(tiny_model)
    task = app.async_scoring("entropy", {"entropy": {"model": "tiny"}})
    assert task["request"] == {"method": "entropy", "model": "tiny"}
    assert app.scoring_worker.wait(app.scoring_worker.runs()[0], 120)
    assert app.scoring({"method": "entropy"})["skipped"] == 1
    asked = []
    monkeypatch.setattr(app, "_local_request", lambda *words: asked.append(words))
    app.server_mode(False)
    assert app.async_scoring(None) == {}
    app.async_scoring("entropy")
    assert asked == [("/scoring/entropy", None, "Scoring")]


def test_storing_in_a_pacs_without_a_pacs_stops_the_start(make_app, tiny_model):
    with pytest.raises(SettingError, match="`store_in_pacs` needs a DICOMweb server"):
        make_app(tiny_model, store_in_pacs="mask")


def test_a_request_to_store_without_a_pacs_is_answered_with_the_reason(make_app, tiny_model):
    result = make_app(tiny_model).infer({"model": "tiny", "image": "ball", "store_in_pacs": "mask"})
    Path(result["file"]).unlink()
    refused = result["params"]["segtrust"]["pacs"]["refused"]
    assert refused == {"mask": "the studies are a folder; storing needs a DICOMweb server."}


def test_a_dicom_seg_needs_a_pacs_and_a_mask(make_app, tiny_model):
    app = make_app(tiny_model)
    for task, words in (("tiny", "needs a DICOMweb server"), ("tiny_uncertainty", "only masks are written")):
        with pytest.raises(SettingError, match=words):
            app.infer({"model": task, "image": "ball", "result_extension": ".dcm"})


def test_a_prediction_is_had_by_model_and_scan(make_app, tiny_model):
    app = make_app(tiny_model)
    assert app.prediction("tiny", "ball").spec.name == "tiny"
    with pytest.raises(ModelNotFoundError, match="no model 'huge'"):
        app.prediction("huge", "ball")
    with pytest.raises(ScanError, match="no scan 'cube'"):
        app.prediction("tiny", "cube")


# --- nested regions of a sigmoid head: one voxel of each kind, by hand --------------------------------------

# whole tumour, core, enhancing core; of a voxel at brightness 100 and of one at 50. Voxel 0 is padding
BRIGHT, DIM = (0.9, 0.8, 0.7), (0.6, 0.4, 0.1)
REGIONS = Head("sigmoid", (1, 2, 3), (0.3, 0.5, 0.6), structures="nested")


def logit(p):
    return torch.tensor(p, dtype=torch.float64).logit()


@pytest.fixture
def publish_regions(tmp_path):
    """Publish a network that says ``BRIGHT`` and ``DIM``, as it is or as the mean of a distribution."""

    def publish(name, head=REGIONS, calibrator=None, factors=()):
        spec = spec_of(
            name=name, head=head, members=1, patch=(8, 8, 8), extent_mm=None,
            labels=(Label("whole", 1, 1), Label("core", 2, 2), Label("enhancing", 3, 3)),
            intensity=Intensity("window", 0.0, 100.0),
            network={
                "_target_": "monai.networks.nets.unet.Convolution", "spatial_dims": 3, "in_channels": 1,
                "out_channels": 3 * (1 + 2 * bool(factors)), "kernel_size": 1, "conv_only": True,
            },
        )  # fmt: skip
        network = build_network(spec)
        with torch.no_grad():
            network.conv.weight.zero_()
            network.conv.bias.zero_()
            network.conv.weight[:3, 0, 0, 0, 0] = 2 * (logit(BRIGHT) - logit(DIM))
            network.conv.bias[:3] = 2 * logit(DIM) - logit(BRIGHT)
            if factors:
                network.conv.bias[3:6] = -30  # a voxel has no noise of its own
                network.conv.bias[6:] = torch.tensor(factors)
        folder = tmp_path / "published"
        folder.mkdir(exist_ok=True)
        save_weights(network, folder / f"{name}.safetensors")
        calibration = {"calibrator": calibrator or {"name": "identity"}}
        publish_version(folder / name, spec, [folder / f"{name}.safetensors"], calibration, {})
        return folder / name

    return publish


def write_two_voxels(folder):
    data = np.array([0, 50, 100], np.float32).reshape(3, 1, 1)
    nib.save(nib.Nifti1Image(data, np.eye(4)), folder / "two.nii.gz")
    return folder / "two.nii.gz"


def ask_app(app, model, **request):
    answer = app.infer({"model": model, "image": "two", **request})
    file = Path(answer["file"])
    values = np.asanyarray(nib.load(file).dataobj).ravel().tolist()
    file.unlink()
    return values, answer["params"]["segtrust"]


def test_nested_regions_with_thresholds_of_their_own_are_served_by_hand(make_app, publish_regions, tmp_path):
    app = make_app(publish_regions("regions"))
    write_two_voxels(tmp_path / "studies")
    mask, said = ask_app(app, "regions")
    # 100: all three exceed .3, .5 and .6; 50: only the whole tumour does, .4 is not above .5
    assert mask == [0, 1, 3]
    assert {s["name"]: s["voxels"] for s in said["structures"]} == {"whole": 2, "core": 1, "enhancing": 1}
    assert said["flags"] == []  # the core lies under its enhancing part and is there
    bands, _ = ask_app(app, "regions_uncertainty")
    # right is .7 at 100: in all three; .6 - .4 at 50: in the whole tumour and not in its core
    chance, _ = ask_app(app, "regions_uncertainty", map="chance_of_error", result_dtype="float32")
    assert chance == pytest.approx([0, 0.8, 0.3], abs=1e-6)
    assert bands == [0, 3, 2]  # above 1 in 3, 1 in 5 to 1 in 3
    margin, _ = ask_app(app, "regions_uncertainty", map="margin", result_dtype="float32")
    # .4 of a threshold of .5; (1 - .7) of what lies above .6
    assert margin == pytest.approx([0, 0.8, 0.75], abs=1e-6)
    entropy, _ = ask_app(app, "regions_uncertainty", map="entropy", result_dtype="float32")
    assert entropy == pytest.approx(
        [0, *(scipy.stats.entropy([p, 1 - p], base=2) for p in (0.4, 0.7))], abs=1e-6
    )


def test_calibrated_regions_stay_on_their_side_of_the_mask(make_app, publish_regions, tmp_path):
    calibrator = {"name": "pooled_temperature", "temperature": 2.0}
    folder = publish_regions("regions", calibrator=calibrator)
    prediction = Predictor(open_version(folder)).predict(write_two_voxels(tmp_path))
    odds = np.array([p / (1 - p) for p in (0.3, 0.5, 0.6)])[:, None]
    ours = np.array([DIM, BRIGHT]).T
    expected = odds * np.sqrt(ours / (1 - ours) / odds)
    np.testing.assert_allclose(prediction.probs[:, 1:, 0, 0], expected / (1 + expected), atol=1e-6)
    assert prediction.mask.ravel().tolist() == [0, 1, 3]
    assert prediction.sets[:, :, 0, 0].tolist() == [
        [False, True, True],
        [False, False, True],
        [False, False, True],
    ]


def test_regions_are_measured_as_they_are_shown(publish_regions, tmp_path):
    predictor = Predictor(open_version(publish_regions("regions")))
    scan = read_scan(write_two_voxels(tmp_path))
    prepared, statistics, _ = predictor.sample(scan)
    truth = torch.tensor([0, 2, 3]).view(3, 1, 1)  # the core of what the model calls whole tumour only
    record = evaluate_case(
        "two", "two", {"ours": (statistics.mean, None)}, truth, scan.spacing, prepared.valid, main="ours",
        rule=REGIONS.rule,
    )  # fmt: skip
    # whole: 2 of 2; core: 1 of 2, so 2 / 3; enhancing: 1 of 1
    np.testing.assert_allclose(record.dice["ours"], [1, 2 / 3, 1])
    totals = record.totals["ours"]["band"]
    assert totals.n == 2
    # every voxel answers three questions
    assert totals.nll == pytest.approx(-math.log(0.9 * 0.8 * 0.7 * 0.6 * 0.4 * 0.9), abs=1e-5)
    # stated: .7 right and it is, .2 right and it is not
    assert totals.figures()["ece"] == pytest.approx((0.3 + 0.2) / 2, abs=1e-6)
    assert record.changed["ours"] == 0
    # the error lies where the chance of it is highest
    assert (record.errors["ours"].wrong.sum(), record.errors["ours"].right.sum()) == (1, 1)
    drawn = [draw_scan(predictor, scan, truth, subject=str(k), seed=k) for k in range(5)]
    observed = cross_fitted_errors(drawn, lambda _scans, least: Identity(), REGIONS.rule)
    assert (observed.rate(0.2, 1 / 3), observed.rate(1 / 3, 1), observed.scans) == (0, 1, 5)
    fitted = fit_pooled_temperature(drawn)
    assert np.array_equal(
        REGIONS.rule.sets(
            fitted.apply(statistics.mean, torch.zeros(3, 1, 1), head="sigmoid", threshold=REGIONS.threshold)
        ),
        REGIONS.rule.sets(statistics.mean),
    )


def test_samples_of_nested_regions_are_drawn_together(make_app, publish_regions, tmp_path):
    # one factor moves all logits by the same number: draws are masks of one family, small to large
    folder = publish_regions("drawn", head=replace(REGIONS, rank=1), factors=(5.0, 5.0, 5.0))
    app = make_app(folder)
    write_two_voxels(tmp_path / "studies")
    shown = [ask_app(app, "drawn_samples", show=str(k))[0] for k in range(1, 6)]
    sizes = [sum(value > 0 for value in mask) for mask in shown]
    assert sizes == sorted(sizes)
    assert set(sizes) == {0, 1, 2} or set(sizes) == {1, 2}
    for mask in shown:
        assert mask[0] == 0
        assert mask[1] <= mask[2]  # the brighter voxel is never further out
    levels, said = ask_app(app, "drawn_samples")
    assert said["samples"]["drawn"] == 32
    assert levels[0] == 0
    assert 4 <= levels[1] <= levels[2] <= 7
    prediction = Predictor(open_version(folder)).predict(tmp_path / "studies" / "two.nii.gz")
    # the mean over draws decides, and is on the same side as what is shown
    assert np.array_equal(prediction.mask, REGIONS.rule.labels(torch.from_numpy(prediction.probs)))
    again = Predictor(open_version(folder)).predict(tmp_path / "studies" / "two.nii.gz")
    assert np.array_equal(prediction.samples.masks, again.samples.masks)
