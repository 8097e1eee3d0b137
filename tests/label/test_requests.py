"""What clients ask for, as types."""

import pytest

from segtrust.errors import SettingError
from segtrust.inference import EXCESS, MAP_NAMES, VIEW_MAPS
from segtrust.label.answer import AnswerForm
from segtrust.label.failures import LabelError
from segtrust.label.requests import (
    InferRequest,
    ResultRequest,
    SampleRequest,
    model_name,
    result_tag,
    uses_several_gpus,
)
from segtrust.label.settings import AppSettings


def request(**keys):
    return InferRequest.from_request(keys, AppSettings(device="cpu"))


def test_a_request_without_keys_takes_the_settings():
    assert request() == InferRequest(device="cpu", map="entropy", form=AnswerForm(), ignored=())


def test_a_request_may_name_another_device():
    assert request(device="cuda:1").device == "cuda:1"


def test_a_list_of_choices_counts_by_its_first():
    # Slicer's plug-in sends an option that nobody touched as the whole list
    assert request(map=["margin", "entropy"], device=["cpu"]).map == "margin"


@pytest.mark.parametrize("name", [*MAP_NAMES, EXCESS, *VIEW_MAPS])
def test_every_map_may_be_asked_for(name):
    assert request(map=name).map == name


def test_an_unknown_map_is_refused_with_the_known_ones():
    with pytest.raises(
        SettingError, match=r"`map` must be one of entropy, chance_of_error, .*, got 'variation'"
    ):
        request(map="variation")


@pytest.mark.parametrize("dtype", ["float32", "np.float32", "numpy.float64", "Float64"])
def test_a_float_type_asks_for_the_map_itself(dtype):
    assert request(result_dtype=dtype).float_map is True


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "", None])
def test_any_other_type_asks_for_bands(dtype):
    assert request(result_dtype=dtype).float_map is False


@pytest.mark.parametrize("dtype", ["float16", "int32", "object"])
def test_a_type_that_is_not_written_is_refused(dtype):
    with pytest.raises(
        SettingError, match="`result_dtype` must be one of uint8, int16, uint16, float32, got"
    ):
        request(result_dtype=dtype)


@pytest.mark.parametrize(
    ("keys", "form"),
    [
        ({"result_extension": "NRRD"}, AnswerForm(extension=".nrrd")),
        ({"result_extension": [".nii", ".nrrd"]}, AnswerForm(extension=".nii")),
        ({"result_dtype": "np.double"}, AnswerForm(dtype="float32")),
        ({"result_compress": "no"}, AnswerForm(compress=False)),
    ],
    ids=str,
)
def test_the_form_of_the_answer_is_read_with_the_rest(keys, form):
    assert request(**keys).form == form


@pytest.mark.parametrize("image", [None, "", 3, ["a"]], ids=str)
def test_without_a_scan_there_is_none(image):
    assert request(image=image).scan is None


def test_a_result_is_saved_under_a_tag_only_if_that_is_asked_for():
    assert ResultRequest.from_request({"label_tag": "final"}) == ResultRequest(task="", image=None, tag=None)
    asked = {"model": "m", "image": "s1", "save_label": "true", "label_tag": "second"}
    assert ResultRequest.from_request(asked) == ResultRequest(task="m", image="s1", tag="second")
    assert ResultRequest.from_request({"save_label": True}).tag == "original"
    with pytest.raises(LabelError, match="must not be 'final'"):
        ResultRequest.from_request({"save_label": 1, "label_tag": "final"})


def test_unknown_keys_are_reported_in_order():
    assert request(model="m", image="s", image_meta_dict={}, zebra=1, apple=2).ignored == ("apple", "zebra")


@pytest.mark.parametrize(
    ("asked", "got"),
    [
        (None, ("mask",)),
        ("", ("mask",)),
        ("none", ()),
        ("entropy,between_member", ("entropy", "between_member")),
        (["entropy", "all"], ("entropy", "all")),
    ],
    ids=["nothing said", "empty", "none", "text", "list"],
)
def test_a_request_stores_what_it_names_else_what_the_setting_names(asked, got):
    settings = AppSettings.from_conf({"store_in_pacs": "mask"})
    request = InferRequest.from_request({"store_in_pacs": asked}, settings)
    assert request.store_in_pacs == got
    assert request.ignored == ()


def test_an_option_that_a_viewer_did_not_touch_counts_by_its_first_value():
    assert model_name({}) == model_name({"model": None}) == ""
    assert model_name({"model": ["tiny", "other"]}) == "tiny"
    with pytest.raises(SettingError, match="must be the name of a model"):
        model_name({"model": 3})


def test_the_next_scan_is_asked_for_by_strategy_model_seed_and_client():
    asked = {"strategy": "power", "model": "other", "seed": "4", "client_id": "ann"}
    assert SampleRequest.from_request(asked) == SampleRequest(**{**asked, "seed": 4})
    assert SampleRequest.from_request({"seed": ""}) == SampleRequest(
        strategy="random", model="", seed=0, client_id=""
    )
    with pytest.raises(SettingError, match="`seed` must be a whole number"):
        SampleRequest.from_request({"seed": "x"})


def test_a_result_that_nobody_looked_at_is_no_final_label():
    assert result_tag({}) == "original"
    with pytest.raises(LabelError, match="nobody looked at"):
        result_tag({"label_tag": "final"})


def test_a_batch_spreads_over_gpus_unless_it_says_no():
    assert uses_several_gpus({})
    assert not uses_several_gpus({"multi_gpu": False})
