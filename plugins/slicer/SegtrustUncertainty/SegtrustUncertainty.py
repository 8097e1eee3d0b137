"""3D Slicer module: where the labels of a segtrust server may be wrong, as a coloured overlay."""

import ctk
import qt
import slicer
from SegtrustUncertaintyLib import overlay
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget

_SERVER = "MONAILabel/serverUrl"  # the address that the MONAI Label plug-in uses


class SegtrustUncertainty(ScriptedLoadableModule):
    """What Slicer's list of modules shows."""

    def __init__(self, parent):
        super().__init__(parent)
        parent.title = "Segtrust Uncertainty"
        parent.categories = ["Active Learning"]
        parent.contributors = ["The segtrust authors"]
        parent.helpText = "Shows the calibrated chance of a wrong label over the scan. " + " ".join(
            overlay.NOTICES
        )
        parent.acknowledgementText = "Apache-2.0. Works with a MONAI Label server that runs a segtrust app."


class SegtrustUncertaintyWidget(ScriptedLoadableModuleWidget):
    """The module's panel: the window around :mod:`overlay`, which does the work."""

    def setup(self):
        super().setup()
        self.map = None
        form = qt.QFormLayout()
        self.layout.addLayout(form)
        self.server = qt.QLineEdit(slicer.util.settingsValue(_SERVER, "http://127.0.0.1:8000"))
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.nodeTypes = ["vtkMRMLScalarVolumeNode"]
        self.volume.addEnabled = self.volume.removeEnabled = False
        self.volume.setMRMLScene(slicer.mrmlScene)
        self.task = qt.QComboBox()
        self.show = qt.QPushButton("Show uncertainty")
        self.threshold = self._slider(overlay.THRESHOLD, *overlay.RANGE)
        self.opacity = self._slider(overlay.OPACITY, 0.0, 1.0)
        self.previous, self.next = qt.QPushButton("Previous"), qt.QPushButton("Next")
        walk = qt.QHBoxLayout()
        walk.addWidget(self.previous)
        walk.addWidget(self.next)
        for text, widget in (
            ("&Server:", self.server),
            ("&Scan:", self.volume),
            ("&Task:", self.task),
            ("", self.show),
            ("Show from chance:", self.threshold),
            ("&Opacity:", self.opacity),
            ("Most uncertain slice:", walk),
        ):
            form.addRow(text, widget)
        for text in overlay.NOTICES:
            notice = qt.QLabel(text)
            notice.wordWrap = True
            self.layout.addWidget(notice)
        self.layout.addStretch(1)
        self.server.connect("editingFinished()", self.fill_tasks)
        self.show.connect("clicked()", self.on_show)
        self.threshold.connect("valueChanged(double)", self.on_threshold)
        self.opacity.connect("valueChanged(double)", self.on_opacity)
        self.previous.connect("clicked()", lambda: self.on_step(-1))
        self.next.connect("clicked()", lambda: self.on_step(1))

    def enter(self):
        self.fill_tasks()

    def _slider(self, value, low, high):
        slider = ctk.ctkSliderWidget()
        slider.minimum, slider.maximum, slider.singleStep, slider.decimals = low, high, 0.01, 2
        slider.value = value
        return slider

    def fill_tasks(self):
        self.task.clear()
        try:
            self.task.addItems(overlay.list_tasks(self.server.text.strip()))
        except overlay.MapError as error:
            slicer.util.showStatusMessage(str(error), 5000)

    def on_show(self):
        volume = self.volume.currentNode()
        if volume is None or not self.task.currentText:
            slicer.util.warningDisplay("Choose a scan and a task first. Is the server's address right?")
            return
        with slicer.util.tryWithErrorDisplay("The map could not be loaded.", waitCursor=True):
            scan = self._sample_of_stock_plugin() or overlay.scan_id(volume.GetName())
            folder = slicer.app.temporaryPath
            path = overlay.fetch_map(self.server.text.strip(), scan, self.task.currentText, folder)
            if self.map is not None:
                slicer.mrmlScene.RemoveNode(self.map)
            self.map = slicer.util.loadVolume(str(path), {"show": False, "singleFile": True})
            path.unlink()
            slicer.util.setSliceViewerLayers(background=volume)
            overlay.show_overlay(slicer.mrmlScene, self.map, self.threshold.value, self.opacity.value)
            self.on_step(0)

    def _sample_of_stock_plugin(self):
        """Id of the scan that the MONAI Label plug-in has open; it knows ids that no volume's name tells."""
        module = getattr(slicer.modules, "MONAILabelWidget", None)
        return (getattr(module, "current_sample", None) or {}).get("id")

    def on_threshold(self, value):
        if self.map is not None:
            overlay.set_threshold(self.map, value)

    def on_opacity(self, value):
        overlay.set_opacity(slicer.mrmlScene, value)

    def on_step(self, by):
        if self.map is None:
            return
        view = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
        axis = overlay.stepping_axis(self.map, view)
        slices = overlay.uncertain_slices(overlay.chances(self.map), axis, self.threshold.value)
        current = overlay.shown_slice(self.map, view, axis)
        index = overlay.step(slices, current, by) if by else next(iter(slices), None)
        if index is not None:
            overlay.show_slice(self.map, view, axis, index)
