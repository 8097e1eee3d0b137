"""One round of active learning over HTTP by two people, the same for a folder and for a PACS."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from live_server import until

__all__ = ["Annotator", "score", "work_through"]


class Annotator:
    """Somebody who asks for scans and submits labels under a name."""

    def __init__(self, trainee, name, label):
        self.trainee, self.name, self.label = trainee, name, label

    def next(self, strategy="entropy", **options):
        answer = self.trainee.server.post(
            f"/activelearning/{strategy}", json={"client_id": self.name, **options}
        )
        assert answer.status_code == 200, answer.text
        return answer.json()

    def submit(self, sample, **told):
        values, affine = self.label(sample["id"])
        answer = self.trainee.submit(sample["id"], values, affine, client_id=self.name, **told)
        assert answer.status_code == 200, answer.text


def score(server, model):
    """Have the unlabelled scans scored in the background, and wait for it."""
    started = server.post("/scoring/entropy", json={"model": model})
    assert started.status_code == 200, started.text

    def state():
        return server.get("/scoring/entropy").json()[model]

    until(
        lambda: state()["state"] not in {"queued", "running"}, 600, lambda: f"scoring did not end: {state()}"
    )
    assert state()["failed"] == 0, state()
    return state()


def work_through(trainee, label, scans, drawn):
    """Score, hand out, label, train, score again, hand out.

    Args:
        trainee: the model on its server.
        label: scan -> values and affine of its label.
        scans: seven scans to learn from.
        drawn: one scan that calibrates.
    """
    ann, ben = (Annotator(trainee, name, label) for name in ("ann", "ben"))
    assert score(trainee.server, trainee.model)["done"] == len(scans) + 1

    first, second = ann.next(), ben.next()
    assert [(x["rank"], x["of"], x["strategy"]) for x in (first, second)] == [
        (1, 7, "entropy"),
        (2, 7, "entropy"),
    ]
    assert first["score"] >= second["score"] > 0
    assert first["slices"]
    third = ann.next()
    assert third["id"] not in {first["id"], second["id"]}  # she skips the first

    ben.submit(second)
    by_lot = ben.next()  # the fourth turn
    assert (by_lot["id"], by_lot["strategy"]) == (drawn, "lot")
    assert (by_lot["score"], by_lot["rank"], by_lot["slices"]) == (None, None, [])
    assert "whole scan" in by_lot["reason"]
    ben.submit(by_lot)
    skipped = ben.next()
    assert (skipped["id"], skipped["rank"], skipped["of"]) == (first["id"], 1, 6)
    ben.submit(skipped)
    ann.submit(third)

    together = Barrier(2)

    def one_more(annotator):
        together.wait(60)
        sample = annotator.next()
        together.wait(60)  # each holds one while the other asks
        annotator.submit(sample)
        return sample["id"]

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(one_more, (ann, ben)))
    labelled = {first["id"], second["id"], third["id"], *both}
    assert len(labelled) == 5
    left = set(scans) - labelled

    assert trainee.start(epochs=1, small_gate="publish").status_code == 200
    record = trainee.ended()["segtrust"]
    assert (record.get("error"), record["version"]) == (None, "0002"), record
    assert record["left_out"] == {}
    assert record["report"]["scans"]["train"] == 5
    assert record["report"]["scans"]["calibration"] == 1

    assert ann.next()["reason"].startswith("Not scored yet")  # by the new version
    assert score(trainee.server, trainee.model)["done"] == len(left)
    again = ben.next()
    assert again["id"] in left
    assert again["score"] is not None
    assert {ann.next()["id"], again["id"]} == left
