"""What is tried, one after the other, when a GPU runs out of memory."""

import weakref

import pytest
import torch

from phantoms import (
    BALL,
    Brightness,
    FixedSource,
    spec_of,
    version_of,
)
from segtrust.errors import DeviceError
from segtrust.inference import Predictor
from segtrust.inference import predictor as predictor_module

# --- out of memory -----------------------------------------------------------------------------------------

STEPS = (
    "one window at a time",
    "one window and one member at a time",
    "one window and one member at a time, totals on the CPU",
)


class Counting(Brightness):
    """Remembers the largest number of windows that it was given at once."""

    largest = 0

    def forward(self, image):
        self.largest = max(self.largest, len(image))
        return super().forward(image)


class Greedy:
    """Runs out of GPU memory a few times, then behaves; ``alive`` counts what earlier attempts still hold."""

    def __init__(self, failures):
        self.left, self.held, self.alive, self.windows = failures, [], [], []

    def __len__(self):
        return 1

    def samples(self, image, slide):
        self.alive.append(sum(ref() is not None for ref in self.held))
        network = Counting()
        sample = slide(network, image)
        self.held.append(weakref.ref(sample))
        self.windows.append(network.largest)
        if self.left:
            self.left -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        yield sample


def greedy_predictor(failures):
    source = Greedy(failures)
    return source, Predictor(version_of(spec_of(labels=BALL, spacing=None)), source=source)


@pytest.mark.parametrize("failures", [0, 1, 2, 3])
def test_the_steps_taken_are_in_the_answer(failures, blob_scan):
    _, predictor = greedy_predictor(failures)
    got = predictor.predict_scan(blob_scan)
    assert got.steps == STEPS[:failures]
    assert got.params()["steps"] == list(STEPS[:failures])


def test_when_nothing_helps_the_error_says_what_would(blob_scan):
    source, predictor = greedy_predictor(99)
    with pytest.raises(
        DeviceError, match=r"too little memory for this scan even with one window and one member"
    ) as caught:
        predictor.predict_scan(blob_scan)
    assert "Use device=cpu" in str(caught.value)
    assert isinstance(caught.value.__cause__, torch.cuda.OutOfMemoryError)
    assert source.left == 99 - 4


def test_what_filled_the_memory_is_free_before_the_next_attempt(blob_scan):
    source, predictor = greedy_predictor(3)
    predictor.predict_scan(blob_scan)
    assert source.alive == [0, 0, 0, 0]


@pytest.mark.parametrize(("failures", "largest"), [(0, 2), (1, 1)])
def test_the_first_step_makes_the_window_batch_smaller(blob_scan, failures, largest):
    source, predictor = greedy_predictor(failures)
    predictor.predict_scan(blob_scan)
    assert source.windows[-1] == largest


def test_the_second_step_loads_one_member_at_a_time(tiny_version, blob_scan, loads, monkeypatch):
    predictor, failures = Predictor(tiny_version), [2]
    real = predictor_module.slide

    def short_of_memory(*arguments, **options):
        if failures[0]:
            failures[0] -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return real(*arguments, **options)

    monkeypatch.setattr(predictor_module, "slide", short_of_memory)
    got = predictor.predict_scan(blob_scan)
    assert got.steps == STEPS[:2]
    assert predictor._networks == {}
    assert predictor.keep_members  # the next scan starts as set


def test_a_later_scan_starts_again_as_set(blob_scan):
    _, predictor = greedy_predictor(1)
    assert predictor.predict_scan(blob_scan).steps == STEPS[:1]
    assert predictor.predict_scan(blob_scan).steps == ()


def test_another_error_is_not_taken_for_a_lack_of_memory(blob_scan):
    def broken(image):
        raise RuntimeError("shape mismatch")

    predictor = Predictor(version_of(spec_of()), source=FixedSource(broken))
    with pytest.raises(RuntimeError, match="shape mismatch"):
        predictor.predict_scan(blob_scan)
