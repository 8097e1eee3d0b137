"""What a model is: fields that fit each other, and the way to JSON and back."""

import json
import re

import pytest

from phantoms import spec_of
from segtrust.errors import ModelError
from segtrust.models import (
    Head,
    Intensity,
    Label,
    ModelSpec,
)

LABELS = (Label("whole", 1, 7), Label("core", 2, 9))


def literally(*words):
    return ".*".join(re.escape(str(word)) for word in words)


@pytest.mark.parametrize(
    "spec",
    [
        spec_of(),
        spec_of(spacing=None, extent_mm=None),
        spec_of(
            labels=LABELS,
            head=Head("sigmoid", (1, 2), 0.4),
            intensity=Intensity("window", -100.0, 300.0),
            channels=("t1", "t2"),
            spatial_dims=2,
            patch=(32, 32),
            spacing=(1.0, 1.0),
            intensity_ranges=((0.0, 0.5), (-1.0, 1.0)),
        ),
    ],
    ids=["plain", "optional fields absent", "every field"],
)
def test_a_specification_comes_back_from_json(spec):
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_thresholds_nesting_and_values_of_regions_come_back_from_json():
    head = Head("sigmoid", (1, 2), (0.3, 0.5), structures="nested")
    spec = spec_of(labels=(Label("whole", 1, (1, 2)), Label("core", 2, 2)), head=head)
    assert ModelSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_the_digest_of_a_model_from_before_nesting_stays_what_it_was():
    head = spec_of(labels=LABELS, head=Head("sigmoid", (1, 2), 0.4)).to_json()["head"]
    assert head == {"kind": "sigmoid", "priority": (1, 2), "threshold": 0.4}


def test_a_label_without_colour_gets_one():
    document = spec_of().to_json()
    for label in document["labels"]:
        del label["colour"]
    assert len(ModelSpec.from_json(document).labels[0].colour) == 3


def test_a_softmax_head_has_a_channel_for_the_background_and_a_sigmoid_head_has_none():
    assert spec_of(labels=LABELS).n_classes == 3
    assert spec_of(labels=LABELS, head=Head("sigmoid", (1, 2))).n_classes == 2


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "../evil"}, "name must be letters, digits, - and _, got '../evil'"),
        ({"labels": (Label("a", 2, 1),)}, "must be 1..1 in order, got [2]. Put the file's own values"),
        ({"labels": (Label("a", 1, 1), Label("a", 2, 2))}, "with different names"),
        ({"labels": ()}, "at least one"),
        ({"network": {"_target_": "os.system"}}, "Code is never loaded from a model folder"),
        ({"network": {}}, "`network._target_` must come from monai.networks.nets. or segtrust., got ''"),
        ({"patch": (16, 16)}, "`patch` must have one size per spatial dimension (3), got (16, 16)"),
        ({"spatial_dims": 4, "patch": (8,) * 4, "spacing": None}, "per spatial dimension"),
        (
            {"head": Head("sigmoid", (1,))},
            "`head.priority` of a sigmoid model must order all label values, got (1,)",
        ),
        (
            {"head": Head("sigmoid", (1, 2), 1.0)},
            "`head.threshold` must lie between 0 and 1, got 1.0",
        ),
        (
            {"head": Head("sigmoid", (1, 2), (0.5,))},
            "`head.threshold` must be one number or one per structure (2), got 1",
        ),
        (
            {"head": Head("sigmoid", (1, 2), structures="inside")},
            "`head.structures` must be independent or nested, got 'inside'",
        ),
        (
            {"head": Head(threshold=0.3)},
            "a softmax head takes the likeliest class, got 0.3 and 'independent'",
        ),
        (
            {"labels": (Label("a", 1, (1, 2)), Label("b", 2, 2))},
            "labels of 'tiny' must have different `source_value`, got [1, 2, 2]",
        ),
        (
            {"labels": (Label("a", 1, (2, 1)), Label("b", 2, (2, 3))), "head": Head("sigmoid", (1, 2))},
            "the value that stands for them alone, got [2, 2]",
        ),
        ({"head": Head("sofmax")}, "`head.kind` must be softmax or sigmoid, got 'sofmax'"),
        (
            {"intensity": Intensity("z-score")},
            "none with low < high, got 'z-score'",
        ),
        ({"intensity": Intensity("window", 5.0, 5.0)}, "none with low < high, got 'window' 5"),
        ({"spacing": (1.0, 1.0)}, "`spacing` must have 3 entries, got 2"),
        ({"extent_mm": ((1.0, 2.0),)}, "`extent_mm` must have 3 entries, got 1"),
        ({"intensity_ranges": ()}, "`intensity_ranges` must have 1 entries, got 0"),
        ({"intensity_levels": ()}, "`intensity_levels` must have 1 entries, got 0"),
        ({"extent_voxels": ((1.0, 2.0),)}, "`extent_voxels` must have 3 entries, got 1"),
        ({"head": Head(largest=3)}, "`head.largest` must be 1 or more, of a head with `rank`"),
        ({"head": Head(rank=2, largest=0)}, "`head.largest` must be 1 or more"),
    ],
)
def test_fields_that_contradict_each_other_are_refused(changes, words):
    with pytest.raises(ModelError, match=literally(words)):
        spec_of(**changes)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("colour", "red"),
        ("labels", 3),
        ("labels", [["front", 1, 1]]),
        ("head", "softmax"),
        ("intensity", "zscore"),
        ("network", ["monai"]),
        ("extent_mm", [1, 2, 3]),
    ],
)
def test_a_field_of_the_wrong_form_is_a_model_error(field, value):
    with pytest.raises(ModelError, match=r"spec\.json must fit the form of a model"):
        ModelSpec.from_json({**spec_of().to_json(), field: value})


def test_a_missing_field_is_named():
    document = spec_of().to_json()
    del document["labels"]
    with pytest.raises(ModelError, match="'labels'"):
        ModelSpec.from_json(document)
