"""A configuration gives plain values, and what would have to be run is code that nobody runs."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segtrust.adapters.configuration import Code, Configuration, read_document
from segtrust.errors import ModelError


def looked_up(root, key="value"):
    return Configuration(root, Path("inference.json")).look_up(key)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ("@side", 48),
        ("$@side", 48),
        ("@sizes#1", 32),
        ("@nested::deep", "x"),
        ("$len(@sizes)", 2),
        ("$len(@sizes) + @side", 50),
        ("$@root + '/models/' + @name", "/b/models/a.pt"),
        ("$[1.5, 1.5] if @nested#high else [3.0, 3.0]", [1.5, 1.5]),
        ("$-@side", -48),
        (["@side", {"a": "@name"}], [48, {"a": "a.pt"}]),
    ],
)
def test_plain_values_are_found(value, wanted):
    root = {
        "side": 48,
        "sizes": [64, 32],
        "nested": {"deep": "x", "high": True},
        "root": "/b",
        "name": "a.pt",
    }
    assert looked_up(root | {"value": value}) == wanted


@pytest.mark.parametrize(
    "value",
    [
        "$__import__('os').system('true')",
        "$().__class__",
        "$open('/etc/passwd').read()",
        "$[x for x in (1, 2)]",
        "$9 ** 9 ** 9",
        "$'a' * 9999999999",
        "$torch.load(@path)",
        "$lambda x: x",
        "$len('a', key=print)",
        "$exec('1')",
        "$reference_0_",
        "$" + "(" * 250,
        "%other.json::key",
        "@missing",
        "@circle",
        "$@circle + 1",
        "$@code + 'a'",
    ],
)
def test_everything_else_is_code_and_stays_what_it_is(value):
    root = {"path": "x", "circle": "@circle2", "circle2": "@circle", "code": "$print()", "value": value}
    assert isinstance(looked_up(root), Code)


@given(st.text(max_size=40))
def test_no_text_is_run_and_none_breaks_the_reader(text):
    out = looked_up({"value": f"${text}", "a": [1]})
    assert isinstance(out, Code | str | int | float | bool | list) or out is None


@pytest.mark.parametrize("kind", ["lists", "sums"])
def test_references_that_grow_for_ever_are_refused(kind):
    twice = (lambda k: [f"@{k}", f"@{k}"]) if kind == "lists" else (lambda k: f"$@{k} + @{k}")
    root = {"value": twice("a0")} | {f"a{n}": twice(f"a{n + 1}") for n in range(30)} | {"a30": "x" * 100}
    with pytest.raises(ModelError, match="references that grow beyond"):
        looked_up(root)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        (
            "inference.yaml",
            "a: !!python/object/apply:os.system ['true']",
            "could not determine a constructor",
        ),
        ("inference.yaml", "a: &x [1]\nb: [*x, *x]", "got aliases"),
        ("inference.yaml", "- 1", "must hold an object"),
        ("inference.yaml", "a: [", "must be plain YAML"),
        ("inference.json", "[" * 100_000, "must be plain JSON"),
        ("inference.json", "{", "must be plain JSON"),
        ("inference.json", "[]", "must hold an object"),
        ("inference.json", '{"a": "' + "x" * (1 << 22) + '"}', "below 4 MB"),
    ],
    ids=["tag", "alias", "list", "open", "deep", "cut off", "array", "large"],
)
def test_hostile_and_damaged_files_are_refused_by_name(tmp_path, name, text, words):
    (tmp_path / name).write_text(text)
    with pytest.raises(ModelError, match=words) as refused:
        read_document(tmp_path, "inference")
    assert name in str(refused.value)


def test_two_files_of_one_name_are_refused(tmp_path):
    for ending in ("json", "yaml"):
        (tmp_path / f"inference.{ending}").write_text(json.dumps({}))
    with pytest.raises(ModelError, match=r"must be one file .* got inference\.json, inference\.yaml"):
        read_document(tmp_path, "inference")
