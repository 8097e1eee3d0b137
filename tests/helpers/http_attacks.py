"""Every route with every kind of bad input, for the tests and for the recorded run of attacks."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from bad_inputs import (
    DOCUMENTS,
    FILE_CONTENTS,
    FILE_NAMES,
    HARMLESS,
    KEYS,
    MULTIPARTS,
    NAMES,
    RAW,
    WRONG_VALUES,
)

__all__ = ["Attack", "bad_requests", "why_not_refused"]


@dataclass(frozen=True)
class Attack:
    """One request; ``options`` are those of ``requests``."""

    name: str
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    may_succeed: bool = True  # harmless where a route does not look at the bad part


def bad_requests(scan: str, model: str) -> Iterator[Attack]:
    """All of them.

    Args:
        scan: a scan of the datastore.
        model: a served model.

    Yields:
        The requests; a route that deletes only ever gets names that do not exist.
    """
    yield from _bodies(model)
    yield from _forms(scan, model)
    yield from _values(scan, model)
    yield from _names(scan, model)
    yield from _queries(scan, model)
    yield from _files(scan, model)
    yield from _elsewhere(scan, model)


def _json_routes(model: str) -> dict[str, tuple[str, str]]:
    return {
        "next scan": ("POST", "/activelearning/entropy"),
        "scoring": ("POST", "/scoring/entropy"),
        "all scorings": ("POST", "/scoring/"),
        "training": ("POST", f"/train/{model}"),
        "all trainings": ("POST", "/train/"),
        "batch inference": ("POST", f"/batch/infer/{model}"),
        "inference of slides": ("POST", f"/infer/wsi/{model}"),
    }


def _form_routes(scan: str, model: str) -> dict[str, tuple[str, str, str]]:
    return {
        "inference": ("POST", f"/infer/{model}?image={scan}", "params"),
        "label": ("PUT", f"/datastore/label?image={scan}", "params"),
        "image": ("PUT", "/datastore/image?image=new", "params"),
        "image at the root": ("PUT", "/datastore/?image=new", "params"),
        "information of an image": ("PUT", f"/datastore/image/info?image={scan}", "info"),
        "information of a label": ("PUT", f"/datastore/label/info?label={scan}&tag=final", "info"),
        "old information of a label": ("PUT", f"/datastore/updatelabelinfo?label={scan}&tag=final", "params"),
        "inference of slides": ("POST", f"/infer/wsi_v2/{model}?image={scan}", "wsi"),
    }


def _bodies(model: str) -> Iterator[Attack]:
    json_type = {"Content-Type": "application/json"}
    for route, (method, path) in _json_routes(model).items():
        for kind, document in DOCUMENTS.items():
            options = {"data": document, "headers": json_type}
            yield Attack(f"{route}: {kind}", method, path, options, kind in HARMLESS)
        for kind, content in RAW.items():
            yield Attack(f"{route}: {kind}", method, path, {"data": content, "headers": json_type}, False)
        for kind in (
            "text/plain",
            "application/xml",
            "multipart/form-data",
            "image/png",
            "",
            "a;b;c",
            "/",
            "\u00fc",
        ):
            options = {"data": b"\xff[1]", "headers": {"Content-Type": kind.encode("latin-1")}}
            yield Attack(f"{route}: content type {kind!r}", method, path, options, False)


def _forms(scan: str, model: str) -> Iterator[Attack]:
    file = {"label": ("l.nii", b"x" * 400), "file": ("f.nii", b"x" * 400)}
    for route, (method, path, name) in _form_routes(scan, model).items():
        for kind, document in DOCUMENTS.items():
            options = {"data": {name: document}, "files": file}
            yield Attack(f"{route}: {kind}", method, path, options, kind in HARMLESS)
            if "info" in name or route == "inference":
                yield Attack(
                    f"{route}, no file: {kind}", method, path, {"data": {name: document}}, kind in HARMLESS
                )
        for kind, content in RAW.items():
            files = {name: (None, content), **file}
            yield Attack(f"{route}: {kind}", method, path, {"files": files})
        yield Attack(
            f"{route}: a file for {name}", method, path, {"files": {name: ("a.json", b"{}"), **file}}, False
        )
        for kind, header, content in MULTIPARTS:
            options = {"data": content, "headers": {"Content-Type": header}}
            yield Attack(f"{route}: {kind}", method, path, options)


def _values(scan: str, model: str) -> Iterator[Attack]:
    """Objects whose values have types that nobody expects there."""
    for key in KEYS:
        for kind, value in WRONG_VALUES.items():
            document = {key: value}
            for task in (model, f"{model}_uncertainty"):
                options = {"data": {"params": json.dumps(document)}}
                yield Attack(f"{task}: {key}={kind}", "POST", f"/infer/{task}?image={scan}", options)
            for route, (method, path) in _json_routes(model).items():
                if "training" not in route and "batch" not in route:
                    yield Attack(f"{route}: {key}={kind}", method, path, {"json": document})
            if key in {"model", "epochs", "losses", "small_gate", "seed", "device", "members", "client_id"}:
                bad = {"max_epochs": -1, **document}  # never starts one: `max_epochs` cannot be negative
                yield Attack(f"training: {key}={kind}", "POST", f"/train/{model}", {"json": bad})
    for kind, value in WRONG_VALUES.items():
        yield Attack(f"all trainings: {kind}", "POST", "/train/", {"json": {model: value or [1]}})
        yield Attack(f"all scorings: {kind}", "POST", "/scoring/", {"json": {"entropy": value}})
        for inner in ({"name": value, "idx": 1}, {"name": "front", "idx": value}, value):
            options = {
                "files": {"label": ("l.nii", b"x" * 400)},
                "data": {"params": json.dumps({"label_info": [inner]})},
            }
            yield Attack(f"label_info {kind}", "PUT", f"/datastore/label?image={scan}", options)


def _names(scan: str, model: str) -> Iterator[Attack]:
    """Names in paths and queries."""
    for kind, name in NAMES.items():
        file = {"file": ("f.nii", b"x"), "label": ("l.nii", b"x")}
        for method, path, options in (
            ("POST", f"/infer/{name}?image={scan}", {}),
            ("POST", f"/infer/{model}?image={name}", {}),
            ("POST", f"/infer/{model}?session_id={name}", {}),
            ("POST", f"/infer/{model}?image={scan}&output={name}", {}),
            ("POST", f"/infer/wsi/{name}?image={scan}", {"json": {}}),
            ("POST", f"/infer/wsi_v2/{name}?image={scan}", {}),
            ("POST", f"/infer/wsi_v2/{name}?session_id={name}", {"files": {"file": ("f.nii", b"x")}}),
            ("POST", f"/batch/infer/{name}", {"json": {}}),
            ("POST", f"/batch/infer/{name}?run_sync=true", {"json": {}}),
            ("POST", f"/batch/infer/{model}?images={name}", {"json": {}}),
            ("POST", f"/activelearning/{name}", {"json": {}}),
            ("POST", "/activelearning/entropy", {"json": {"client_id": name, "model": name}}),
            ("GET", f"/scoring/{name}", {}),
            ("POST", f"/scoring/{name}", {}),
            ("POST", f"/train/{name}", {"json": {}}),
            ("GET", f"/model/{name}", {}),
            ("GET", f"/model/info/{name}", {}),
            ("PUT", f"/model/{name}", {"files": {"file": ("m.pt", b"x")}}),
            ("DELETE", f"/model/{name}", {}),
            ("GET", f"/session/{name}", {}),
            ("GET", f"/session/{name}?image=true&update_ts=true", {}),
            ("DELETE", f"/session/{name}", {}),
            ("PUT", f"/session/?uncompress={name}", {"files": {"files": ("s.nii", b"x")}}),
            ("PUT", f"/session/?expiry={name}", {"files": {"files": ("s.nii", b"x")}}),
            ("GET", f"/datastore/?output={name}", {}),
            ("GET", f"/datastore/image?image={name}", {}),
            ("HEAD", f"/datastore/image?image={name}", {}),
            ("HEAD", f"/datastore/image?image={scan}&check_sum={name}", {}),
            ("HEAD", f"/datastore/image?image={scan}&check_sum={name}:00", {}),
            ("GET", f"/datastore/image/info?image={name}", {}),
            ("PUT", f"/datastore/image/info?image={name}", {"data": {"info": "{}"}}),
            ("DELETE", f"/datastore/image?id={name}", {}),
            ("DELETE", f"/datastore/?id={name}", {}),
            ("PUT", f"/datastore/image?image={name}", {"files": {"file": file["file"]}}),
            ("PUT", f"/datastore/?image={name}", {"files": {"file": file["file"]}}),
            ("GET", f"/datastore/label?label={name}&tag=final", {}),
            ("GET", f"/datastore/label?label={scan}&tag={name}", {}),
            ("HEAD", f"/datastore/label?image={name}&tag=final", {}),
            ("HEAD", f"/datastore/label?image={scan}&tag={name}", {}),
            ("GET", f"/datastore/label/info?label={name}&tag={name}", {}),
            ("PUT", f"/datastore/label/info?label={scan}&tag={name}", {"data": {"info": "{}"}}),
            ("PUT", f"/datastore/updatelabelinfo?label={name}&tag={name}", {"data": {"params": "{}"}}),
            ("DELETE", f"/datastore/label?id={name}&tag=final", {}),
            ("DELETE", f"/datastore/label?id={scan}&tag={name}", {}),
            ("PUT", f"/datastore/label?image={name}", {"files": {"label": file["label"]}}),
            ("PUT", f"/datastore/label?image={scan}&tag={name}", {"files": {"label": file["label"]}}),
            ("GET", f"/datastore/dataset?limit_cases={name}", {}),
            ("GET", f"/segtrust/findings/{name}?image={scan}", {}),
            ("GET", f"/segtrust/findings/{model}?image={name}", {}),
            ("GET", f"/segtrust/maps/{model}?image={name}", {}),
            ("GET", f"/segtrust/maps/{model}?image={scan}&map={name}", {}),
            ("GET", f"/segtrust/labels/history?image={name}", {}),
            ("GET", f"/segtrust/labels/history?image={scan}&limit={name}", {}),
            ("GET", f"/segtrust/labels/history/file?image={name}&entry={name}", {}),
            ("POST", f"/segtrust/labels/restore?image={name}&entry={name}", {}),
            ("POST", f"/segtrust/labels/restore?image={scan}&entry={name}&client_id={name}", {}),
            ("GET", f"/logs/{name}", {}),
            ("GET", f"/ohif/{name}", {}),
            ("GET", f"/ohif/assets/{name}", {}),
            ("GET", f"/ohif/segtrust/{name}", {}),
            ("GET", f"/static/{name}", {}),
            ("GET", f"/static/ohif/{name}", {}),
            ("GET", f"/proxy/dicom/{name}", {}),
            ("GET", f"/proxy/dicom/qido/{name}", {}),
            ("POST", f"/proxy/dicom/stow/{name}", {"data": b"x"}),
            ("GET", f"/{name}", {}),
            ("GET", f"/auth/{name}", {}),
        ):
            where = path.split("?")[0].replace(name, "NAME").replace(model, "MODEL")
            yield Attack(
                f"{method} {where} {path.partition('?')[2].replace(name, 'NAME')[:40]}: {kind}",
                method,
                path,
                options,
            )


def _queries(scan: str, model: str) -> Iterator[Attack]:
    numbers = (
        "-1",
        "0",
        "x",
        "",
        "1.5",
        "9" * 19,
        "9" * 400,
        "9" * 5000,
        "NaN",
        "1e3",
        "null",
        "0x10",
        "%00",
    )
    for number in numbers:
        kind = number if len(number) < 20 else f"{len(number)} digits"
        yield Attack(f"logs lines={kind}", "GET", f"/logs/?lines={number}&text=true")
        yield Attack(f"logs refresh={kind}", "GET", f"/logs/?refresh={number}&html=true")
        yield Attack(f"logs html={kind}", "GET", f"/logs/?html={number}")
        yield Attack(f"dataset limit={kind}", "GET", f"/datastore/dataset?limit_cases={number}")
        yield Attack(f"train all={kind}", "GET", f"/train/?all={number}&check_if_running={number}")
        yield Attack(f"batch all={kind}", "GET", f"/batch/infer?all={number}&check_if_running={number}")
        yield Attack(f"scoring all={kind}", "GET", f"/scoring/?all={number}&check_if_running={number}")
        yield Attack(f"scoring run_sync={kind}", "POST", f"/scoring/nobody?run_sync={number}")
        yield Attack(
            f"session expiry={kind}",
            "PUT",
            f"/session/?expiry={number}",
            {"files": {"files": ("s.nii", b"x")}},
        )
    huge = "q=" + "x" * 40_000
    many = "&".join(f"k{number}=v" for number in range(4000))
    for path in (
        "/info/",
        f"/datastore/image?image={scan}",
        "/logs/",
        "/openapi.json",
        "/static/ohif/index.html",
    ):
        joint = "&" if "?" in path else "?"
        yield Attack(f"{path}: 40,000 characters of query", "GET", f"{path}{joint}{huge}")
        yield Attack(f"{path}: 4,000 keys", "GET", f"{path}{joint}{many}")
        yield Attack(f"{path}: NUL key", "GET", f"{path}{joint}%00=%00")
    yield Attack("twice the same scan", "GET", f"/datastore/image?image={scan}&image=..%2f..%2fetc%2fpasswd")
    yield Attack("no scan", "GET", "/datastore/image")
    yield Attack("no file", "PUT", f"/datastore/label?image={scan}")
    yield Attack("no strategy", "POST", "/activelearning/")


def _files(scan: str, model: str) -> Iterator[Attack]:
    """Files whose name or content is wrong."""
    routes = (
        ("POST", f"/infer/{model}", "file"),
        ("POST", f"/infer/{model}?image={scan}", "label"),
        ("POST", f"/infer/wsi_v2/{model}", "file"),
        ("PUT", "/datastore/image", "file"),
        ("PUT", "/datastore/image?image=made", "file"),
        ("PUT", "/datastore/", "file"),
        ("PUT", f"/datastore/label?image={scan}", "label"),
        ("PUT", f"/datastore/label?image={scan}&tag=other", "label"),
        ("PUT", "/session/", "files"),
        ("PUT", "/session/?uncompress=true", "files"),
        ("PUT", f"/model/{model}", "file"),
    )
    for method, path, part in routes:
        for kind, name in FILE_NAMES.items():
            yield Attack(
                f"{method} {path} name {kind}",
                method,
                path,
                {"files": {part: (name, b"x")}},
            )
        for kind, content in FILE_CONTENTS.items():
            for ending in (".nii", ".nii.gz", ".nrrd", ".mha", ".dcm", ".zip", ".tar.gz", ".bin"):
                files = {part: (f"x{ending}", content)}
                yield Attack(f"{method} {path} {kind} as {ending}", method, path, {"files": files})
        yield Attack(f"{method} {path} text for a file", method, path, {"data": {part: "text"}})
        yield Attack(f"{method} {path} JSON for a file", method, path, {"json": {part: "text"}})


def _elsewhere(scan: str, model: str) -> Iterator[Attack]:
    for path in (
        "/info/",
        f"/infer/{model}",
        "/datastore/",
        "/train/",
        "/logs/",
        "/nobody",
        "/session/",
        "/ohif/",
        "/",
    ):
        for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD"):
            if (method, path) not in {("DELETE", "/train/"), ("POST", "/train/")}:
                yield Attack(f"{method} {path}", method, path)
    for path in (
        "/logs/gpu",
        "/logs/",
        "/datastore/dataset",
        "/ohif/assets",
        "/ohif/",
        "/static/",
        "/static",
        "/docs",
    ):
        yield Attack(f"GET {path}", "GET", path)
    for name, value in {
        "Range": "bytes=99999999999-", "Accept": "\x00", "If-None-Match": "\xff" * 50, "Content-Length": "0",
        "Authorization": "Bearer x", "Accept-Encoding": "nobody", "If-Range": "x", "Origin": "null",
        "If-Modified-Since": "never", "X-Forwarded-For": "x" * 3000, "Expect": "nobody", "Cookie": "a" * 3000,
    }.items():  # fmt: skip
        if name != "Accept":
            headers = {name: value.encode("latin-1")}
            yield Attack(f"header {name}", "GET", f"/datastore/image?image={scan}", {"headers": headers})
    for spans in (
        "bytes=5-1",
        "bytes=-",
        "bytes=a-b",
        "lines=1-2",
        "bytes=" + "0-1," * 2000,
        "bytes=-99999999999",
    ):
        yield Attack(
            f"range {spans[:20]}", "GET", f"/datastore/image?image={scan}", {"headers": {"Range": spans}}
        )
    yield Attack("reload", "POST", "/reload")


def why_not_refused(attack: Attack, status: int, content_type: str, body: bytes) -> str:
    """What is wrong with an answer; empty if nothing is.

    Args:
        attack: the request.
        status: of the answer.
        content_type: of the answer.
        body: of the answer.

    Returns:
        A sentence, or an empty text.
    """
    if status < 400:
        return "" if attack.may_succeed else f"answered {status}"
    if status >= 500 and status not in {503, 507}:
        return f"answered {status}"
    if attack.method == "HEAD":
        return ""
    if "json" not in content_type:
        return f"{status} is no JSON but {content_type}"
    try:
        answer = json.loads(body)
    except ValueError:
        return f"{status} is no JSON"
    if not isinstance(answer, dict) or set(answer) != {"detail", "code", "scan", "task"}:
        return f"{status} has {sorted(answer) if isinstance(answer, dict) else type(answer).__name__}"
    if not isinstance(answer["detail"], str) or len(answer["detail"]) < 15 or len(answer["detail"]) > 5000:
        return f"{status} does not say what to do: {answer['detail']!r:.80}"
    return ""
