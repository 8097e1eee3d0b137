"""The least role of every route, in one table: what is not listed is for administrators."""

from typing import Final

from starlette.routing import compile_path

from segtrust.label.login.accounts import RANKS, Rank

__all__ = ["ACCESS", "ANYONE", "is_heavy", "least_rank", "listed_rank"]

ANYONE: Final = "anyone"
"""In place of a role: without a log-in."""

Least = Rank | str

ACCESS: tuple[tuple[Least, str, tuple[str, ...]], ...] = (
    # whether there is a log-in, and logging in; nothing of the site is said
    (ANYONE, "GET", ("/auth/", "/favicon.ico")),
    (ANYONE, "POST", ("/auth/token",)),
    # what is shown
    ("reader", "GET", (
        "/", "/docs", "/openapi.json", "/static/{path:path}", "/ohif/{path:path}", "/auth/token/valid",
        "/info/", "/segtrust/models", "/segtrust/findings/{model}", "/segtrust/maps/{model}",
        "/segtrust/drift", "/segtrust/labels/history", "/segtrust/labels/history/file",
        "/datastore/", "/datastore/image", "/datastore/image/info", "/datastore/label",
        "/datastore/label/info", "/batch/infer", "/scoring/", "/scoring/{method}", "/train/",
        "/session/{session_id}", "/proxy/dicom/{path:path}",
    )),
    # a segmentation is shown, not kept
    ("reader", "POST", (
        "/infer/{model}", "/infer/wsi/{model}", "/infer/wsi_v2/{model}",
    )),
    ("reader", "PUT", ("/session/",)),
    ("reader", "DELETE", ("/session/{session_id}",)),
    # what adds to the site; a POST to the PACS may store there; the next scan is taken from the others
    ("annotator", "GET", ("/datastore/dataset",)),
    ("annotator", "PUT", (
        "/datastore/", "/datastore/image", "/datastore/image/info", "/datastore/label",
        "/datastore/label/info", "/datastore/updatelabelinfo",
    )),
    ("annotator", "POST", (
        "/scoring/", "/scoring/{method}", "/segtrust/labels/restore",
        "/activelearning/{strategy}", "/proxy/dicom/{path:path}",
    )),
    ("annotator", "DELETE", ("/scoring/",)),
    # what cannot be undone, costs hours, or tells about everybody
    ("administrator", "GET", ("/logs/", "/logs/gpu", "/model/{model}", "/model/info/{model}")),
    ("administrator", "PUT", ("/model/{model}",)),
    ("administrator", "POST", ("/train/", "/train/{model}", "/batch/infer/{model}", "/reload")),
    ("administrator", "DELETE", (
        "/datastore/", "/datastore/image", "/datastore/label", "/train/", "/batch/infer", "/model/{model}",
    )),
)  # fmt: skip
"""Least role, method and paths, as the routes have them, without MONAI Label's prefix."""

_HEAVY = tuple(
    compile_path(path)[0]
    for path in ("/infer/{path:path}", "/batch/infer/{model}", "/segtrust/findings/{m}", "/segtrust/maps/{m}")
)
_ORDER = (ANYONE, *RANKS)
_COMPILED = tuple((least, method, compile_path(path)[0]) for least, method, paths in ACCESS for path in paths)


def listed_rank(method: str, path: str) -> Least | None:
    """Least role of a request, as the table has it.

    Args:
        method: HEAD counts as GET.
        path: decoded, as routes see it, without prefix.

    Returns:
        The highest of all entries that fit, whichever route answers; ``None`` if none does.
    """
    verb = "GET" if method == "HEAD" else method
    fitting = [least for least, m, pattern in _COMPILED if m == verb and pattern.fullmatch(path)]
    return max(fitting, key=_ORDER.index, default=None)


def least_rank(method: str, path: str) -> Least:
    """Least role that a request needs.

    Args:
        method: of the request, in capitals; ``WEBSOCKET`` for one.
        path: decoded, as routes see it, without prefix.

    Returns:
        That of the table. A path that the framework leads to its twin with or without a slash at the end
        needs what the twin needs; every other path needs an administrator, since a route that somebody forgot
        must be closed.
    """
    twin = path[:-1] if path.endswith("/") else f"{path}/"
    return listed_rank(method, path) or _at_least_reader(listed_rank(method, twin)) or "administrator"


def _at_least_reader(least: Least | None) -> Least | None:
    return "reader" if least == ANYONE else least


def is_heavy(path: str) -> bool:
    """Whether a request runs a network: a user may have few of them at a time."""
    return any(pattern.fullmatch(path) for pattern in _HEAVY)
