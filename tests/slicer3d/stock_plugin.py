"""Runs the unmodified MONAI Label plug-in of 3D Slicer on Slicer's own libraries, without Qt.

Not a test: a program for the Python of the Slicer environment. What the user would do comes as JSON on the
standard input, what the plug-in did goes to the standard output. The plug-in's functions are its own, from
the MONAI Label wheel; the window is made of stand-ins, and Slicer's storage nodes read and write files.
"""

import contextlib
import json
import os
import sys
import types
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import SimpleITK as sitk  # noqa: N813 -- its own custom
import slicer
import slicer.util
import vtk
from trame_slicer.core import SlicerApp
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


class _Window:
    def __init__(self, *_args, **_options):
        """Takes what Qt's or Slicer's base classes take."""


def _module(name, **members):
    module = types.ModuleType(name)
    vars(module).update(members)
    module.__getattr__ = lambda _name: MagicMock()
    sys.modules[name] = module


def _push_volume(image, _target=None, name=None, className="vtkMRMLScalarVolumeNode"):  # noqa: N803
    """What Slicer's sitkUtils does: an image of SimpleITK as a node with the same geometry."""
    values = sitk.GetArrayFromImage(image)
    pixels = vtk.vtkImageData()
    pixels.SetDimensions(image.GetSize())
    pixels.GetPointData().SetScalars(numpy_to_vtk(np.ascontiguousarray(values).ravel(), deep=True))
    place = np.eye(4)
    place[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    place[:3, 3] = image.GetOrigin()
    to_ras = vtk.vtkMatrix4x4()
    to_ras.DeepCopy((_LPS @ place).ravel())
    node = slicer.mrmlScene.AddNewNodeByClass(className)
    node.SetAndObserveImageData(pixels)
    node.SetIJKToRASMatrix(to_ras)
    return node


def _save_node(node, path):
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(path)
    if not storage.WriteData(node):
        raise OSError(f"{path} was not written")


def _import_plugin(folder, app, said):
    """Import the plug-in's module with stand-ins for what needs a window."""
    segmentations = slicer.vtkSlicerSegmentationsModuleLogic()
    segmentations.SetMRMLScene(app.scene)
    slicer.mrmlScene = app.scene
    slicer.app = MagicMock()
    slicer.modules = SimpleNamespace(segmentations=SimpleNamespace(logic=lambda: segmentations))
    bases = ("", "Widget", "Logic", "Test")
    names = [f"ScriptedLoadableModule{kind}" for kind in bases]
    _module("qt", QDialog=_Window)
    _module("ctk", ctkSettingsPanel=_Window)
    _module("slicer.ScriptedLoadableModule", __all__=names, **{n: type(n, (_Window,), {}) for n in names})
    _module("slicer.i18n", tr=str, translate=lambda _context, text: text)
    _module("sitkUtils", PushVolumeToSlicer=_push_volume)
    for name in ("DICOMScalarVolumePlugin", "SampleData", "vtkSegmentationCore"):
        _module(name)
    slicer.util.VTKObservationMixin = type("VTKObservationMixin", (), {})
    slicer.util.settingsValue = lambda _key, default, converter=None: default
    slicer.util.tempDirectory = lambda *_, **__: os.environ["TMPDIR"]
    slicer.util.getNodesByClass = lambda _name: []
    slicer.util.loadVolume = lambda path: app.io_manager.load_volumes(path)[0]
    slicer.util.saveNode = _save_node
    slicer.util.errorDisplay = lambda text, detailedText="": said.append(f"{text} {detailedText}")  # noqa: N803
    slicer.util.warningDisplay = said.append
    slicer.util.confirmOkCancelDisplay = lambda *_, **__: True
    slicer.util.infoDisplay = lambda _text, detailedText="": said.append(json.loads(detailedText))  # noqa: N803
    sys.path.insert(0, folder)
    import MONAILabel as plugin  # noqa: N813, PLC0415 -- possible only now

    return plugin


def _make_widget(plugin, server):
    """The plug-in's widget as its `setup` leaves it, with a stand-in for the window."""
    widget = object.__new__(plugin.MONAILabelWidget)
    widget.ui = MagicMock()
    widget.ui.serverComboBox.currentText = server
    widget.ui.strategyBox.currentText = "entropy"
    widget.ui.segmentationModelSelector.currentText = ""
    widget.logic = plugin.MONAILabelLogic(
        tmpdir=os.environ["TMPDIR"], server_url=server, client_id="user-xyz"
    )
    state = {"models": {}, "samples": {}, "current_sample": {}, "_volumeNodes": [], "file_ext": ".nii.gz"}
    nodes = ("_volumeNode", "_segmentNode", "_scribblesROINode", "_sam2ROINode")
    vars(widget).update(state | dict.fromkeys(nodes) | {"tmpdir": os.environ["TMPDIR"]})
    drawing = ("updateGUIFromParameterNode", "saveServerUrl", "invalidateConfigTable", "reportProgress")
    scribbles = ("onResetScribbles", "createScribblesROINode", "createSam2ROINode")
    for name in (*drawing, *scribbles):
        setattr(widget, name, lambda *_, **__: None)
    return widget


def _voxels(widget):
    """Voxels of each segment, in the order of the segments."""
    segmentation, counts = widget._segmentNode.GetSegmentation(), {}
    for index in range(segmentation.GetNumberOfSegments()):
        labelmap = slicer.vtkOrientedImageData()
        widget._segmentNode.GetBinaryLabelmapRepresentation(segmentation.GetNthSegmentID(index), labelmap)
        values = labelmap.GetPointData().GetScalars()
        name = segmentation.GetNthSegment(index).GetName()
        counts[name] = 0 if values is None else int(np.count_nonzero(vtk_to_numpy(values)))
    return counts


def _remove(widget, part):
    """Remove every segment with a text in its name, as a user does."""
    segmentation = widget._segmentNode.GetSegmentation()
    for name in [name for name in _voxels(widget) if part in name]:
        segmentation.RemoveSegment(segmentation.GetSegmentIdBySegmentName(name))


def main():
    """Do the steps and print what came of each."""
    asked, said, found = json.load(sys.stdin), [], []
    app = SlicerApp()
    widget = _make_widget(_import_plugin(asked["plugin"], app, said), asked["server"])
    for step, word in asked["steps"]:
        del said[:]
        if step == "connect":
            widget.fetchInfo()
        elif step == "next":
            widget.onNextSampleButton()
        elif step == "run":
            widget.ui.segmentationModelSelector.currentText = word
            widget.onClickSegmentation()
        elif step == "remove":
            _remove(widget, word)
        elif step == "submit":
            widget.onSaveLabel()
        elif step == "train":
            widget.ui.trainerBox.currentText = word
            widget.onTraining()
        elif step == "stop":
            widget.onStopTraining()
        volume = widget._volumeNode
        found.append({
            "said": list(said),
            "model": widget.ui.segmentationModelSelector.currentText,
            "volume": volume and volume.GetName(),
            "voxels": _voxels(widget) if widget._segmentNode else {},
        })  # fmt: skip
    return found


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # the plug-in prints to Slicer's console
        result = main()
    sys.stdout.write(json.dumps(result) + "\n")
