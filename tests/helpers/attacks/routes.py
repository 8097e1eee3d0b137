"""Bad requests on every route, and requests that schemathesis makes up from the description of the routes."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings

from attacks.site import make_site
from http_attacks import bad_requests, why_not_refused

__all__ = ["make_requests_up", "send_bad_requests"]

_SECONDS = 60
_NEVER = ("post", "/train/{model}")  # would train; its parameters are among the bad requests


def send_bad_requests(work: Path, *, every: int) -> dict[str, Any]:
    """Send every kind of bad input to every route, in an order drawn by lot.

    Args:
        work: folder of the site, made anew.
        every: send only one of so many.

    Returns:
        Counts, and the answers that say nothing, by what is wrong with them.
    """
    attacks = list(bad_requests("scan-0", "tiny"))
    random.Random(12).shuffle(attacks)
    answers: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    with make_site(work, 3).served() as site, requests.Session() as session:
        for attack in attacks[::every]:
            request = requests.Request(attack.method, f"{site.url}{attack.path}", **attack.options)
            answer = session.send(session.prepare_request(request), timeout=_SECONDS)
            answers[str(answer.status_code)] += 1
            kind = answer.headers.get("content-type", "")
            if reason := why_not_refused(attack, answer.status_code, kind, answer.content):
                wrong[reason] += 1
        alive = site.answers()
    return {
        "requests": answers.total(),
        "answers": dict(sorted(answers.items())),
        "wrong": dict(wrong),
        "server_lives": alive,
    }


def make_requests_up(work: Path, *, examples: int) -> dict[str, Any]:
    """Have schemathesis make requests up from the description of a served app.

    Args:
        work: folder of the site, made anew.
        examples: for each operation.

    Returns:
        Counts; ``errors_of_the_server`` are answers of 500 and above, other than 503 and 507.
    """
    answers: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    operations = 0
    with make_site(work, 3).served() as site:
        schema = schemathesis.openapi.from_url(f"{site.url}/openapi.json")
        for result in schema.get_all_operations():
            operation = result.ok()
            if (operation.method, operation.path) == _NEVER:
                continue
            operations += 1

            @seed(12)
            @settings(
                max_examples=examples,
                deadline=None,
                database=None,
                derandomize=False,
                phases=[Phase.explicit, Phase.generate],
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy())
            def ask(case: Any) -> None:
                answer = case.call(timeout=_SECONDS)
                answers[str(answer.status_code)] += 1
                if answer.status_code >= 500 and answer.status_code not in {503, 507}:
                    wrong[f"{case.method} {case.path}: {answer.status_code}"] += 1

            ask()
        alive = site.answers()
    return {
        "operations": operations,
        "requests": answers.total(),
        "answers": dict(sorted(answers.items())),
        "errors_of_the_server": dict(wrong),
        "server_lives": alive,
    }
