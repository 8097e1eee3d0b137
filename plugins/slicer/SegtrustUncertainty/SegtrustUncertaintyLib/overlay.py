"""Shows a map of chances of a wrong label over a scan; needs Slicer's libraries, but no window.

Standard library, NumPy and Slicer only: nothing has to be installed into Slicer.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import numpy as np
import slicer
import vtk
from vtk.util.numpy_support import vtk_to_numpy

NOTICES = (
    "The map cannot show a structure or disease the model was never trained on.",
    "For annotation and research, not for diagnosis.",
)
TITLE = "Chance of a\nwrong label"
RANGE = (0.0, 0.5)
THRESHOLD = 0.05
OPACITY = 0.6

# *inferno* (van der Walt and Smith, matplotlib) without its black end, in even steps: even in lightness, also
# for colour-blind eyes; the page of `segtrust demo` has the same colours
_COLOURS = (
    (87, 16, 110), (117, 27, 110), (147, 38, 103), (177, 50, 90), (204, 66, 72), (228, 90, 49),
    (243, 120, 25), (251, 153, 6), (251, 190, 35), (243, 227, 90), (252, 255, 164),
)  # fmt: skip
_RANKED = re.compile(r" \(rank \d+ of \d+, [^)]*\)")
_FILE = re.compile(r"\.(nii\.gz|nii|nrrd|mha|mhd)$", re.IGNORECASE)
_TABLE = "Segtrust chance of error"


class MapError(RuntimeError):
    """A map that the server does not give; its words are for the user."""


def scan_id(name):
    """The scan's id on the server from the name of its volume, which may tell a rank and an extension.

    >>> scan_id("heart_3 (rank 1 of 9, entropy 0.250).nii.gz")
    'heart_3'
    """
    return _FILE.sub("", _RANKED.sub("", name))


def list_tasks(server):
    """Names of the server's tasks that answer with a map, in its order."""
    models = json.loads(_read(f"{server.rstrip('/')}/info/"))["models"]
    return [name for name in models if name.endswith("_uncertainty") and "_with_" not in name]


def fetch_map(server, scan, task, folder):
    """Ask the server for the chance of a wrong label in every voxel.

    Args:
        server: address, `http://...`.
        scan: id of the scan in the server's datastore.
        task: one of :func:`list_tasks`.
        folder: where the file is written.

    Returns:
        An NRRD file of float32 in [0, 1] on the scan's own voxels.

    Raises:
        MapError: if the server refuses or does not answer; with its own words.
    """
    query = urllib.parse.urlencode({"image": scan, "output": "image"})
    wanted = {"result_dtype": "float32", "result_extension": ".nrrd", "map": "chance_of_error"}
    form = urllib.parse.urlencode({"params": json.dumps(wanted)}).encode()
    content = _read(f"{server.rstrip('/')}/infer/{urllib.parse.quote(task)}?{query}", form)
    path = Path(folder) / f"{urllib.parse.quote(scan, safe='')}-chance-of-error.nrrd"
    path.write_bytes(content)
    return path


def _read(address, form=None):
    if not address.startswith(("http://", "https://")):
        raise MapError(f"The server's address must begin with http:// or https://, got {address!r}.")
    try:
        with urllib.request.urlopen(address, form, timeout=600) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        text = error.read().decode("utf-8", "replace")
        try:
            text = json.loads(text)["detail"]
        except (ValueError, KeyError, TypeError):
            text = text or error.reason
        raise MapError(f"The server refused: {text}") from error
    except OSError as error:
        raise MapError(f"The server {address} does not answer: {error}") from error


def colour_table(scene):
    """The scene's colour table for chances, made when it is first asked for."""
    known = scene.GetFirstNodeByName(_TABLE)
    if known:
        return known
    table = slicer.vtkMRMLColorTableNode()
    table.SetName(_TABLE)
    table.SetTypeToUser()
    table.SetNumberOfColors(256)
    places = np.linspace(0, 1, len(_COLOURS))
    steps = [
        np.interp(np.linspace(0, 1, 256), places, channel) / 255 for channel in zip(*_COLOURS, strict=True)
    ]
    for index, (red, green, blue) in enumerate(zip(*steps, strict=True)):
        table.SetColor(index, f"{RANGE[0] + index / 255 * (RANGE[1] - RANGE[0]):.2f}", red, green, blue, 1.0)
    table.SetSaveWithScene(True)
    return scene.AddNode(table)


def show_overlay(scene, volume, threshold=THRESHOLD, opacity=OPACITY):
    """Lay a map over whatever the slice views show, with colours, legend, threshold and opacity.

    Args:
        scene: the MRML scene.
        volume: node of the map.
        threshold: chances below it are not drawn.
        opacity: of the map's layer, 0 to 1.

    Returns:
        The node of the legend.
    """
    volume.CreateDefaultDisplayNodes()
    display = volume.GetScalarVolumeDisplayNode()
    display.SetAndObserveColorNodeID(colour_table(scene).GetID())
    display.SetAutoWindowLevel(False)
    display.SetWindowLevelMinMax(*RANGE)
    display.SetInterpolate(False)  # what is shown is what was computed
    set_threshold(volume, threshold)
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode").SetForegroundVolumeID(volume.GetID())
    set_opacity(scene, opacity)
    return _legend(scene, volume)


def _legend(scene, volume):
    for index in range(volume.GetNumberOfDisplayNodes()):
        known = volume.GetNthDisplayNode(index)
        if known.IsA("vtkMRMLColorLegendDisplayNode"):
            return known
    legend = scene.AddNode(slicer.vtkMRMLColorLegendDisplayNode())
    volume.AddAndObserveDisplayNodeID(legend.GetID())
    legend.SetAndObserveColorNodeID(colour_table(scene).GetID())
    legend.SetTitleText(TITLE)
    legend.SetLabelFormat("%.2f")
    legend.SetNumberOfLabels(6)
    return legend


def set_threshold(volume, threshold):
    """Draw only chances of at least `threshold`."""
    display = volume.GetScalarVolumeDisplayNode()
    display.SetThreshold(float(threshold), 1.0)
    display.SetApplyThreshold(True)


def set_opacity(scene, opacity):
    """Opacity of the map's layer in all slice views, 0 to 1."""
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLSliceCompositeNode")):
        scene.GetNthNodeByClass(index, "vtkMRMLSliceCompositeNode").SetForegroundOpacity(float(opacity))


def chances(volume):
    """Values of a map, `(k, j, i)`: the last axis is the volume's first."""
    image = volume.GetImageData()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(image.GetDimensions()[::-1])


def stepping_axis(volume, slice_node):
    """Axis (0, 1, 2 = i, j, k) of the volume that a slice view steps along."""
    to_ras, view = _matrix(volume.GetIJKToRASMatrix), slice_node.GetSliceToRAS()
    normal = np.array([view.GetElement(row, 2) for row in range(3)])
    steps = to_ras[:3, :3] / np.linalg.norm(to_ras[:3, :3], axis=0)
    return int(np.abs(normal @ steps).argmax())


def uncertain_slices(values, axis, threshold=THRESHOLD):
    """Slices in order of their expected number of wrong voxels, which is the sum of the chances.

    Args:
        values: `(k, j, i)`, see :func:`chances`.
        axis: 0, 1, 2 = i, j, k.
        threshold: chances below it do not count, as they are not drawn.

    Returns:
        Indices of slices with something to show, the most uncertain first.
    """
    others = tuple(a for a in range(3) if a != 2 - axis)
    sums = np.where(values >= threshold, values, 0).sum(axis=others, dtype=np.float64)
    return [int(index) for index in np.argsort(-sums, kind="stable") if sums[index] > 0]


def step(slices, current, by):
    """The slice `by` places further down the list; from one that is not in it, the first.

    >>> step([7, 5, 9], 7, 1), step([7, 5, 9], 7, -1), step([7, 5, 9], 0, 1), step([], 0, 1)
    (5, 7, 7, None)
    """
    if not slices:
        return None
    if current not in slices:
        return slices[0]
    return slices[min(max(slices.index(current) + by, 0), len(slices) - 1)]


def show_slice(volume, slice_node, axis, index):
    """Move a slice view to the centre of a slice of the volume."""
    centre = [(n - 1) / 2 for n in volume.GetImageData().GetDimensions()]
    centre[axis] = index
    place = _matrix(volume.GetIJKToRASMatrix) @ [*centre, 1.0]
    slice_node.JumpSliceByOffsetting(*place[:3])


def shown_slice(volume, slice_node, axis):
    """Index of the volume's slice that a slice view shows, which may lie outside of the volume."""
    view = slice_node.GetSliceToRAS()
    place = [view.GetElement(row, 3) for row in range(3)]
    return round((np.linalg.inv(_matrix(volume.GetIJKToRASMatrix)) @ [*place, 1.0])[axis])


def _matrix(fill):

    matrix = vtk.vtkMatrix4x4()
    fill(matrix)
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])
