"""What is asked of an archive, seen by a client that only counts; tests/pacs asks a real one."""

import os
import socket

import pytest
import requests
from monailabel.config import settings as platform
from monailabel.interfaces.exception import ImageNotFoundException
from pydicom import Dataset

from segtrust.label.failures import PacsError, status_and_code
from segtrust.label.studies.connection import connect, forget_defaults, image_filters, listing_seconds
from segtrust.label.studies.pacs import Pacs

MR, MAP = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.30"


class Client:
    """An archive with four MR series and two segmentations, one of which cannot be read."""

    base_url = "http://pacs/dicom-web"

    def __init__(self):
        self.asked = []
        self.failed = []

    def search_for_series(self, *, search_filters, **_):
        self.asked.append(("series", tuple(search_filters.values())))
        classes = {"1.1": MR, "1.2": MAP, "1.3": None, "1.4": None}
        if search_filters.get("Modality") == "SEG":
            classes = {"2.1": None, "2.2": None}
        return [item(series, kind) for series, kind in classes.items()]

    def search_for_instances(self, study, series, **_):
        self.asked.append(("class", series))
        return [item(series, {"1.3": MAP, "1.4": None}[series])]

    def retrieve_series_metadata(self, study, series):
        self.asked.append(("label", series))
        if series == "2.2":
            raise requests.HTTPError("500")
        return [label_of("1.1").to_json_dict()]

    def store_instances(self, datasets):
        answer = Dataset()
        answer.FailedSOPSequence = self.failed
        return answer


def item(series, kind):
    header = Dataset()
    header.StudyInstanceUID, header.SeriesInstanceUID = "1", series
    if kind:
        header.SOPClassUID = kind
    return header.to_json_dict()


def label_of(image):
    header, reference, segment = Dataset(), Dataset(), Dataset()
    reference.SeriesInstanceUID = image
    segment.SegmentNumber, segment.SegmentLabel, segment.SegmentAlgorithmType = 1, "Front ", "MANUAL"
    header.ReferencedSeriesSequence, header.SegmentSequence = [reference], [segment]
    header.ContentDate, header.ContentTime = "20260102", "101112"
    return header


@pytest.fixture
def client():
    return Client()


@pytest.fixture
def pacs(client):
    return Pacs(client, [{"Modality": "MR"}], frozenset({"front"}), 60)


def test_maps_are_no_scans_whether_the_listing_or_the_object_says_so(pacs):
    assert list(pacs.images()) == ["1.1", "1.4"]


def test_what_cannot_change_is_asked_for_once(pacs, client):
    for _ in range(2):
        pacs.images()
        pacs.labels()
        pacs.forget()
    assert client.asked.count(("class", "1.4")) == 1
    assert client.asked.count(("label", "2.1")) == 1
    assert client.asked.count(("series", ("MR",))) == 2


def test_a_listing_is_kept_until_something_is_stored(pacs, client):
    for _ in range(3):
        pacs.images()
    assert client.asked.count(("series", ("MR",))) == 1
    pacs.store([])
    pacs.images()
    assert client.asked.count(("series", ("MR",))) == 2


def test_a_segmentation_that_cannot_be_read_hides_no_other_and_is_tried_again(pacs, client):
    assert [label.series for label in pacs.labels().values()] == ["2.1"]
    pacs.forget()
    pacs.labels()
    assert client.asked.count(("label", "2.2")) == 2


def test_an_unknown_series_is_looked_for_again_before_it_is_missing(pacs, client):
    assert pacs.has("1.1")
    assert not pacs.has("9.9")
    assert client.asked.count(("series", ("MR",))) == 2
    with pytest.raises(ImageNotFoundException, match=r"no series '9.9'"):
        pacs.info("9.9")


def test_an_archive_that_keeps_only_a_part_is_not_believed(pacs, client):
    refused = Dataset()
    refused.FailureReason = 0x0122
    client.failed = [refused]
    with pytest.raises(PacsError, match="refused 1 of 0 objects with reason 290") as raised:
        pacs.store([])
    assert status_and_code(raised.value) == (502, "pacs")


@pytest.fixture
def silent():
    """A program that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_an_archive_that_does_not_answer_is_given_up(monkeypatch, silent):
    """D8: MONAI Label waits for ever; its setting for the time to wait is never used."""
    monkeypatch.setattr(platform, "MONAI_LABEL_DICOMWEB_PROXY_TIMEOUT", 0.2)
    with pytest.raises(requests.Timeout) as raised:
        connect(f"http://127.0.0.1:{silent.getsockname()[1]}").search_for_series()
    assert status_and_code(raised.value) == (502, "pacs")
    silent.setblocking(False)
    silent.accept()[0].close()
    with pytest.raises(BlockingIOError):  # asked once: more tries would multiply the time to wait
        silent.accept()


def test_settings_of_monai_label_count_only_if_somebody_made_them(monkeypatch):
    made = platform.model_fields_set - {
        "MONAI_LABEL_DICOMWEB_SEARCH_FILTER",
        "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY",
    }
    monkeypatch.setattr(platform, "__pydantic_fields_set__", made)
    assert image_filters() == ({"Modality": "CT"}, {"Modality": "MR"})
    assert listing_seconds() == 60
    monkeypatch.setattr(platform, "MONAI_LABEL_DICOMWEB_SEARCH_FILTER", {"Modality": "PT"})
    monkeypatch.setattr(platform, "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY", 5)
    assert image_filters() == ({"Modality": "PT"},)
    assert listing_seconds() == 5


def test_a_setting_that_nobody_made_is_not_handed_on_as_if_somebody_had(monkeypatch):
    # MONAI Label writes the values of all its settings into the environment of the processes it starts
    names = ("MONAI_LABEL_DICOMWEB_SEARCH_FILTER", "MONAI_LABEL_DICOMWEB_CACHE_EXPIRY")
    monkeypatch.setattr(platform, "__pydantic_fields_set__", {names[1]})
    for name in names:
        monkeypatch.setenv(name, "5")
    forget_defaults()
    assert [name in os.environ for name in names] == [False, True]
