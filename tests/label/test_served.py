"""The models an app serves."""

from dataclasses import replace

import pytest

from phantoms import publish_random_version
from segtrust.errors import ModelError, ModelNotFoundError
from segtrust.label.results import last_results
from segtrust.label.served import ServedModel, serve_models
from segtrust.label.settings import AppSettings
from segtrust.label.warmup import warm_up


def test_a_version_that_is_published_meanwhile_is_served_from_then_on(served, tiny_scan, tiny_spec):
    first = served.predict(tiny_scan)
    publish_random_version(served.folder, tiny_spec, seed=5)
    second = served.predict(tiny_scan)
    assert (first.version_id, second.version_id) == ("0001", "0002")
    assert first.digest != second.digest


def test_a_damaged_version_is_not_served(served, tiny_spec, tiny_scan):
    publish_random_version(served.folder, tiny_spec, seed=5)
    (served.folder / "versions" / "0002" / "calibration.json").write_text("{}")
    with pytest.raises(ModelError, match="SHA-256"):
        served.predict(tiny_scan)


def test_the_site_comes_before_other_folders(tmp_path, tiny_model, tiny_spec):
    publish_random_version(tmp_path / "site" / "models" / "tiny", tiny_spec, seed=9)
    found = serve_models(AppSettings(models_dir=tiny_model.parent, models=("tiny",)), tmp_path / "site")
    assert found["tiny"].folder == tmp_path / "site" / "models" / "tiny"


def test_a_model_that_is_not_there_is_named_with_those_that_are(tmp_path, tiny_model):
    settings = AppSettings(models_dir=tiny_model.parent, models=("tiny", "spleen"))
    with pytest.raises(ModelNotFoundError, match=r"no model 'spleen'\. Found: .*tiny"):
        serve_models(settings, tmp_path)


def test_an_app_with_one_model_hides_the_others(tmp_path, tiny_model):
    assert list(serve_models(AppSettings(models_dir=tiny_model.parent), tmp_path, only=("tiny",))) == ["tiny"]


def test_nothing_to_serve_is_an_error(tmp_path):
    with pytest.raises(ModelNotFoundError, match="no model to serve"):
        serve_models(AppSettings(), tmp_path, only=("nobody",))


def test_warming_up_predicts_once_with_each_model_of_one_channel_and_a_failure_stops_no_other(
    two_models, make_model, tiny_spec, monkeypatch, caplog
):
    channels = ("T1", "T2")
    network = {**tiny_spec.network, "in_channels": 2}
    double = make_model(replace(tiny_spec, name="double", channels=channels, network=network))
    models = [*two_models.values(), ServedModel(double, AppSettings(device="cpu"), last_results())]
    publish_random_version(models[0].folder, tiny_spec, seed=5)
    (models[0].folder / "versions" / "0002" / "calibration.json").write_text("{}")
    predicted = []
    predict = ServedModel.predict_apart

    def counted(model, path):
        prediction = predict(model, path)
        predicted.append((model.name, prediction.mask.shape))
        return prediction

    monkeypatch.setattr(ServedModel, "predict_apart", counted)
    with caplog.at_level("INFO", logger="segtrust"):
        warm_up(models)
    assert predicted == [("other", (32, 32, 32))]
    assert [record.args[0] for record in caplog.records if "is warm" in record.msg] == ["other"]
    assert "Model tiny did not warm up" in caplog.text


def test_what_training_publishes_on_the_site_is_served_instead_of_the_model_that_was_found(
    tmp_path, tiny_model, tiny_spec, tiny_scan
):
    settings = AppSettings(models_dir=tiny_model.parent, models=("tiny",), device="cpu")
    model = serve_models(settings, tmp_path / "site")["tiny"]
    before = model.predict(tiny_scan)
    publish_random_version(tmp_path / "site" / "models" / "tiny", tiny_spec, seed=9)
    after = model.predict(tiny_scan)
    assert model.folder == tmp_path / "site" / "models" / "tiny"
    assert (before.version_id, after.version_id) == ("0001", "0001")  # ids of two folders
    assert before.digest != after.digest


def test_members_leave_a_device_that_is_lent_and_come_back(served, tiny_scan):
    before = served.predict_apart(tiny_scan).mask
    kept = served._predictor(served.version(), "cpu")
    served.lend("cpu")
    during = served._predictor(served.version(), "cpu")
    assert (kept.keep_members, during.keep_members) == (True, False)
    assert (served.predict_apart(tiny_scan).mask == before).all()
    served.take_back()
    assert served._predictor(served.version(), "cpu").keep_members is True
