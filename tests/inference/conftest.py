"""Fixtures of the prediction tests."""

import pytest

from segtrust.inference import Predictor
from segtrust.inference import predictor as predictor_module
from segtrust.models import open_version


@pytest.fixture(scope="module")
def tiny(tiny_model_original):
    return Predictor(open_version(tiny_model_original))


@pytest.fixture
def loads(monkeypatch):
    counted, real = [], predictor_module.load_member

    def counting(spec, path):
        counted.append(path.name)
        return real(spec, path)

    monkeypatch.setattr(predictor_module, "load_member", counting)
    return counted
