"""Scans and labels are opened in one room; no other module has a reader of its own."""

import ast
from pathlib import Path

import segtrust

LIB = Path(segtrust.__file__).parent
READERS = {
    "imread", "ITKReader", "LoadImage", "LoadImaged", "NibabelReader", "NrrdReader", "PydicomReader",
    "ReadImage", "ImageFileReader", "ImageSeriesReader", "from_filename",
}  # fmt: skip
MODULES = {"nib", "nibabel", "nrrd"}
OPENS = {"load", "read"}


def opened_in(path, root=LIB):
    """Calls in a module that open an image file by a library."""
    calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    for call in calls:
        name = call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "")
        owner = getattr(getattr(call, "value", None), "id", "")
        if name in READERS or (owner in MODULES and name in OPENS):
            yield f"{path.relative_to(root).as_posix()}: {owner}.{name}"


def test_only_the_worker_for_dicom_opens_images_by_a_library():
    calls = {call for path in LIB.rglob("*.py") for call in opened_in(path)}
    assert calls == {"files/series_worker.py: itk.imread"}


def test_the_search_sees_a_reader(tmp_path):
    (tmp_path / "a.py").write_text("import nibabel as nib\nnib.load('x')\n")
    assert list(opened_in(tmp_path / "a.py", tmp_path)) == ["a.py: nib.load"]
