"""Changes of a series that make it one that nothing can refer to, each with the words it is refused with."""

from pydicom.uid import generate_uid

__all__ = ["REFUSALS", "set_all", "set_one"]


def set_all(**values):
    def change(headers):
        for header in headers:
            for keyword, value in values.items():
                setattr(header, keyword, value)
        return headers

    return change


def set_one(**values):
    return lambda headers: [*set_all(**values)(headers[:1]), *headers[1:]]


def without(keyword):
    def change(headers):
        delattr(headers[2], keyword)
        return headers

    return change


def twice(headers):
    headers[1].ImagePositionPatient = headers[2].ImagePositionPatient
    return headers


def copied(headers):
    headers[1].SOPInstanceUID = headers[2].SOPInstanceUID
    return headers


def tilted(headers):
    for k, header in enumerate(headers):
        header.ImagePositionPatient[1] += 0.5 * k
    return headers


def shifted(headers):
    headers[2].ImagePositionPatient[2] += 0.2
    return headers


REFUSALS = {
    "gap": (lambda h: h[:2] + h[3:], r"even distances without a gap \(usual: 3 mm\), got 6 mm between"),
    "uneven": (shifted, r"even distances without a gap .* got \d\.\d+ mm between slices \d and \d of 5"),
    "orientation": (set_one(ImageOrientationPatient=[0.8, 0.6, 0, -0.6, 0.8, 0]), "one ImageOrientation"),
    "spacing": (set_one(PixelSpacing=[0.8, 0.6]), "one PixelSpacing, got different ones"),
    "frame of reference": (set_one(FrameOfReferenceUID=generate_uid()), "one FrameOfReferenceUID, got 2"),
    "two series": (set_one(SeriesInstanceUID=generate_uid()), "one SeriesInstanceUID, got 2 different ones"),
    "rows": (set_one(Rows=8), "one Rows, got 2 different ones"),
    "multi-frame": (set_all(NumberOfFrames=2), "one slice per file, got a multi-frame object"),
    "same place": (twice, r"one slice at each place, got slices 2 and 3 at the same place"),
    "same instance": (copied, "every slice once, got two files with one SOPInstanceUID"),
    "no position": (without("ImagePositionPatient"), "got a slice without ImagePositionPatient"),
    "no orientation": (without("ImageOrientationPatient"), "got a slice without ImageOrientationPatient"),
    "no frame of reference": (without("FrameOfReferenceUID"), "got a slice without FrameOfReferenceUID"),
    "no spacing": (without("PixelSpacing"), "got a slice without PixelSpacing"),
    "one spacing": (set_all(PixelSpacing="0.8"), "2 finite numbers in PixelSpacing, got 0.8"),
    "spacing of 0": (set_all(PixelSpacing=[0, 0.8]), "PixelSpacing above 0"),
    "tilted gantry": (tilted, r"slices stacked along their normal, got a sideways shift of 2 mm"),
    "skewed": (set_all(ImageOrientationPatient=[1, 0, 0, 0.6, 0.8, 0]), "rows and columns at right angles"),
    "one slice, no thickness": (
        lambda h: set_one(SliceThickness=None)(h[:1]),
        "SliceThickness if there is only one slice, got none",
    ),
}  # fmt: skip
