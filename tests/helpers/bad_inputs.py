"""Values, names, bodies and files that no client means well, by kind."""

from typing import Any

__all__ = [
    "DOCUMENTS",
    "FILE_CONTENTS",
    "FILE_NAMES",
    "HARMLESS",
    "KEYS",
    "MULTIPARTS",
    "NAMES",
    "RAW",
    "WRONG_VALUES",
]

LONG = "n" * 300
LONG_BYTES = "\u00fc" * 200  # 200 characters, 400 bytes
DOCUMENTS = {
    "list": "[1]",
    "list of lists": "[[]]",
    "text": '"x"',
    "number": "7",
    "true": "true",
    "cut off": '{"a": ',
    "two objects": "{}{}",
    "nested 2000": '{"a":' * 2000 + "1" + "}" * 2000,
    "nested 2000 lists": '{"a":' + "[" * 2000 + "]" * 2000 + "}",
    "nested 100000": "[" * 100_000,
    "400 digits": '{"seed": ' + "9" * 400 + "}",
    "5000 digits": '{"seed": ' + "9" * 5000 + "}",
    "huge exponent": '{"seed": 1e999}',
    "400 digits after the point": '{"seed": 0.' + "9" * 400 + ', "a": -1e-400}',
    "NaN": '{"seed": NaN}',
    "Infinity": '{"seed": -Infinity}',
    "bare NaN": "NaN",
    "NUL": '{"client_id": "a\\u0000b"}',
    "NUL in a key": '{"a\\u0000b": 1}',
    "lone surrogate": '{"client_id": "\\ud800"}',
    "twice the same key": '{"model": "tiny", "model": [1]}',
}
"""Kind -> a JSON document that no route takes."""
HARMLESS = {"twice the same key", "400 digits after the point"}
RAW = {
    "not UTF-8": b'{"client_id": "\xff\xfe"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "NUL bytes": b"\0" * 40,
}
WRONG_VALUES: dict[str, Any] = {
    "list": [1],
    "object": {"a": [1]},
    "nested list": [[["x"]]],
    "null": None,
    "number": -1,
    "fraction": 0.5,
    "large": 2**63,
    "true": True,
    "empty": "",
    "path": "../../etc/passwd",
    "long": LONG,
    "words": "yes please",
}
KEYS = (
    "model", "seed", "client_id", "device", "map", "flag", "contours", "structure", "float_map",
    "result_dtype", "result_extension", "store_in_pacs", "label_tag", "save_label", "image", "session",
    "session_id", "label", "label_info", "entropy", "epochs", "max_epochs", "lr", "val_split", "losses",
    "small_gate", "dataset", "multi_gpu", "gpus", "max_workers", "strategy", "method", "logging", "loss",
    "images", "cascade", "restore_label_idx", "reviewed", "slices", "segtrust", "max_batch_size", "name",
    "epoch", "train_batch_size", "members", "resume",
)  # fmt: skip
NAMES = {
    "dots": "%2e%2e",
    "dot": "%2e",
    "NUL": "a%00b",
    "newline": "a%0ab",
    "long": LONG,
    "long in bytes": "%C3%BC" * 200,
    "not UTF-8": "%ff%fe",
    "unknown": "nobody",
    "upwards": "..%2f..%2fetc%2fpasswd",
    "backslashes": "..%5c..%5cetc",
    "star": "*",
    "percent": "%25s%25n",
    "empty": "%20",
}
MULTIPARTS = (
    ("no boundary", "multipart/form-data", b"--a\r\n\r\n--a--"),
    ("empty boundary", "multipart/form-data; boundary=", b"--\r\n\r\n----"),
    ("long boundary", "multipart/form-data; boundary=" + "b" * 5000, b"--b"),
    ("wrong boundary", "multipart/form-data; boundary=a", b"--b\r\n\r\nx\r\n--b--"),
    (
        "no end",
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="params"\r\n\r\n{',
    ),
    (
        "no name",
        "multipart/form-data; boundary=a",
        b"--a\r\nContent-Disposition: form-data\r\n\r\nx\r\n--a--\r\n",
    ),
    ("no disposition", "multipart/form-data; boundary=a", b"--a\r\nX: y\r\n\r\nx\r\n--a--\r\n"),
    (
        "charset nobody has",
        "multipart/form-data; charset=nobody; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="params"\r\n\r\n{}\r\n--a--\r\n',
    ),
    (
        "headers without end",
        "multipart/form-data; boundary=a",
        b"--a\r\n" + b"X-Y: z\r\n" * 5000 + b"\r\n\r\n--a--\r\n",
    ),
    (
        "2000 parts",
        "multipart/form-data; boundary=a",
        b'--a\r\nContent-Disposition: form-data; name="x"\r\n\r\n1\r\n' * 2000 + b"--a--\r\n",
    ),
    ("urlencoded, not UTF-8", "application/x-www-form-urlencoded", b"params=%ff%fe&info=%ff&wsi=%ff"),
    ("urlencoded, NUL", "application/x-www-form-urlencoded", b"params=%00&info=%00&wsi=%00"),
    ("urlencoded, empty", "application/x-www-form-urlencoded", b"&&&=&=="),
)
FILE_NAMES = {
    "dots": "..", "dot": ".", "long": f"{LONG}.nii.gz", "long in bytes": f"{LONG_BYTES}.nii",
    "only an ending": ".nii.gz", "folder": "a/b/c.nii", "upwards": "../../x.nii.gz",
    "backslash": "..\\x.nii", "1000 endings": "a" + ".nii" * 1000, "quotes": 'a"b.nii', "no ending": "x",
    "newline": "a\nb.nii", "": "",
}  # fmt: skip
FILE_CONTENTS = {
    "empty": b"", "text": b"hello", "gzip bomb's head": b"\x1f\x8b\x08\x00" + b"\0" * 30,
    "NIfTI head only": b"\x5c\x01\x00\x00" + b"\0" * 344, "NRRD": b"NRRD0004\ntype: float\n\n",
    "NRRD not UTF-8": b"NRRD0005\n\xff\xfe: \xff\n\n", "DICOM": b"\0" * 128 + b"DICM" + b"\xff" * 60,
    "zip": b"PK\x03\x04" + b"\0" * 40, "tar": b"a\0" * 256,
}  # fmt: skip
