"""Runs the logic of our Slicer module on Slicer's own libraries and renders it off-screen.

Not a test: a program for the Python of the Slicer environment. Standard input: JSON with the module's folder,
a scan, a map and where pictures go; standard output: JSON with what came of it.
"""

import contextlib
import doctest
import json
import sys

import numpy as np
import vtk
from trame_slicer.core import SlicerApp
from trame_slicer.views import DirectViewFactory, ViewLayoutDefinition
from vtk.util.numpy_support import vtk_to_numpy


def make_view(app):
    """An axial slice view without a window."""
    app.view_manager.register_factory(DirectViewFactory(do_render_offscreen=True))
    view = app.view_manager.create_view(ViewLayoutDefinition.axial_view())
    view = getattr(view, "slicer_view", view)
    view.render_window().SetSize(600, 600)
    return view


def picture(view, path=None):
    """What the view shows, ``(rows, columns, 3)`` from the bottom; also as PNG if a path is given."""
    view.render()
    grab = vtk.vtkWindowToImageFilter()
    grab.SetInput(view.render_window())
    grab.ReadFrontBufferOff()
    grab.Update()
    if path:
        writer = vtk.vtkPNGWriter()
        writer.SetFileName(path)
        writer.SetInputConnection(grab.GetOutputPort())
        writer.Write()
    image = grab.GetOutput()
    columns, rows, _ = image.GetDimensions()
    return vtk_to_numpy(image.GetPointData().GetScalars()).reshape(rows, columns, -1)[..., :3].astype(int)


def coloured(view, scene, legend, overlay, path=None):
    """Pixels that the overlay changes, and where their centre lies: right and up of the middle, mm."""
    legend.SetVisibility(False)
    overlay.set_opacity(scene, 0)
    without = picture(view)
    overlay.set_opacity(scene, 1)
    rows, columns = np.nonzero(np.abs(picture(view) - without).sum(axis=-1) > 0)
    node = view._view_node
    mm = [node.GetFieldOfView()[axis] / node.GetDimensions()[axis] for axis in (0, 1)]
    half = [n / 2 for n in node.GetDimensions()[:2]]
    overlay.set_opacity(scene, overlay.OPACITY)
    legend.SetVisibility(True)
    picture(view, path)
    return {
        "mm2": len(rows) * mm[0] * mm[1],
        "centre": [(columns.mean() + 0.5 - half[0]) * mm[0], (rows.mean() + 0.5 - half[1]) * mm[1]]
        if len(rows)
        else None,
        "middle": [node.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)],
    }


def main():
    """Load scan and map, lay one over the other, walk through the slices."""
    asked = json.load(sys.stdin)
    sys.path.insert(0, asked["module"])
    from SegtrustUncertaintyLib import overlay  # noqa: PLC0415 -- the folder is known only now

    app = SlicerApp()
    view = make_view(app)
    scan, chances = (app.io_manager.load_volumes(asked[name])[0] for name in ("scan", "map"))
    view.set_background_volume_id(scan.GetID())
    legend = overlay.show_overlay(app.scene, chances, asked["threshold"])
    view.fit_view_to_content()
    with_legend = picture(view)
    legend.SetVisibility(False)
    legend_pixels = int((np.abs(picture(view) - with_legend).sum(axis=-1) > 0).sum())
    node = view._view_node
    axis = overlay.stepping_axis(chances, node)
    slices = overlay.uncertain_slices(overlay.chances(chances), axis, asked["threshold"])
    index = overlay.step(slices, -1, 1)
    overlay.show_slice(chances, node, axis, index)
    display = chances.GetScalarVolumeDisplayNode()
    table = overlay.colour_table(app.scene)
    colour = [0.0] * 4
    colours = [(table.GetColor(step, colour), [round(255 * c) for c in colour[:3]])[1] for step in range(256)]
    return {
        "doctests": doctest.testmod(overlay)._asdict(),
        "scan_ids": [overlay.scan_id(name) for name in asked["names"]],
        "axis": axis,
        "slices": slices,
        "shown": overlay.shown_slice(chances, node, axis),
        "window": [display.GetWindowLevelMin(), display.GetWindowLevelMax()],
        "threshold": display.GetLowerThreshold(),
        "same_legend": overlay.show_overlay(app.scene, chances, asked["threshold"]).GetID() == legend.GetID(),
        "legend": legend.GetTitleText(),
        "legend_pixels": legend_pixels,
        "colours": colours,
        "overlay": coloured(view, app.scene, legend, overlay, asked.get("picture")),
    }


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        result = main()
    sys.stdout.write(json.dumps(result) + "\n")
