"""nnU-Net's own reader, preprocessing, sliding window and resampling, called for one scan at a time.

Everything here that computes is a function of the installed package ``nnunetv2``. Files are handed over as
NIfTI, so that scans in any format that is read here go the same way.
"""

import contextlib
import io
import pydoc
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_model
from torch import Tensor, nn

from segtrust.adapters.nnunet_results import DATASET, PLANS, check_plans
from segtrust.errors import ModelError, install_line

__all__ = ["NativeLogits", "NnunetCase", "NnunetRun"]

_WORDS = 300
_BLOCK = 1 << 28  # bytes that resampling works on at a time
_IN_MEMORY = 1 << 28  # bytes of logits above which they lie in a temporary file
_SITK, _NIBABEL = "SimpleITKIO", "NibabelIO"


@dataclass(frozen=True)
class NnunetCase:
    """A scan as nnU-Net prepared it: ``data`` ``(C, *grid)`` float32, and what it noted about the way back.

    ``shape`` is that of the file ``(X, Y, Z)``.
    """

    data: Tensor
    properties: Mapping[str, Any]
    shape: tuple[int, ...]


class NnunetRun:
    """The plans of one trained configuration, ready to run.

    Args:
        documents: ``plans.json`` and ``dataset.json`` of the version.
        configuration: which one of the plans.
        mirroring: axes of nnU-Net's grid that are mirrored; ``None`` for none.
        device: where networks run.

    Raises:
        ModelError: if nnU-Net is not installed, or the plans name what is on no list.
    """

    def __init__(
        self,
        documents: Mapping[str, Mapping[str, Any]],
        configuration: str,
        mirroring: Sequence[int] | None,
        device: torch.device,
    ) -> None:
        if not {PLANS, DATASET} <= documents.keys():
            raise ModelError(
                f"an adopted nnU-Net must have {PLANS} and {DATASET} in its version, got neither."
            )
        plans, self.dataset = dict(documents[PLANS]), dict(documents[DATASET])
        check_plans(plans, configuration, Path(PLANS))
        self.device = device
        self._plans = _nnunet("utilities.plans_handling.plans_handler").PlansManager(plans)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of plans in the older form
            self._configuration = self._plans.get_configuration(configuration)
        self._labels = self._plans.get_label_manager(self.dataset)
        self._mirroring = None if mirroring is None else tuple(mirroring)

    @property
    def heads(self) -> int:
        """Channels of the logits."""
        return int(self._labels.num_segmentation_heads)

    @property
    def patch(self) -> tuple[int, ...]:
        """Size of a window on nnU-Net's grid."""
        return tuple(int(size) for size in self._configuration.patch_size)

    def network(self) -> nn.Module:
        """The network that the plans describe, with random weights, in evaluation mode.

        Raises:
            ModelError: if a layer is none, or the network refuses its arguments.
        """
        configuration = self._configuration
        arguments = configuration.network_arch_init_kwargs
        for key in configuration.network_arch_init_kwargs_req_import:
            layer = None if arguments[key] is None else pydoc.locate(arguments[key])
            if arguments[key] is not None and not (isinstance(layer, type) and issubclass(layer, nn.Module)):
                raise ModelError(f"`{key}` of the plans must be a layer of torch.nn, got {arguments[key]!r}.")
        try:
            network: nn.Module = _nnunet("utilities.get_network_from_plans").get_network_from_plans(
                configuration.network_arch_class_name,
                arguments,
                configuration.network_arch_init_kwargs_req_import,
                len(self._channels),
                self.heads,
                allow_init=False,
                deep_supervision=False,
            )
        except (TypeError, ValueError, AssertionError, ImportError, KeyError) as error:
            raise ModelError(f"the network of the plans cannot be built: {error}.") from error
        return network.eval().requires_grad_(False)

    def filled(self, weights: Mapping[str, Tensor], path: Path) -> nn.Module:
        """The network with the weights of a checkpoint.

        Args:
            weights: by name.
            path: where they come from, for messages.

        Raises:
            ModelError: if names or shapes do not fit the network of the plans.
        """
        network = self.network()
        try:
            network.load_state_dict(dict(weights))
        except RuntimeError as error:
            raise ModelError(
                f"{path} must fit the network that plans.json describes "
                f"({self._configuration.network_arch_class_name.rpartition('.')[2]}), but "
                f"{' '.join(str(error).split())[:_WORDS]}. A trainer that builds a network of its own cannot "
                "be adopted; its probabilities can be measured (docs/how-to/evaluate-your-model.md)."
            ) from error
        return network

    def load(self, path: Path) -> nn.Module:
        """The network with the weights of a member, on the device.

        Args:
            path: ``.safetensors``.

        Raises:
            ModelError: if they do not fit.
        """
        network = self.network()
        try:
            load_model(network, path)
        except (SafetensorError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:_WORDS]
            raise ModelError(f"{path} must fit the network of plans.json, but {reason}.") from error
        return network.to(self.device)

    def prepare(
        self, values: Tensor, affine: NDArray[np.float64], spacing: Sequence[float] | None
    ) -> NnunetCase:
        """Read and preprocess a scan as nnU-Net does.

        Args:
            values: ``(C, X, Y, Z)`` float32.
            affine: voxels to RAS+ millimetres.
            spacing: millimetres per voxel; the affine's unless given.

        Returns:
            The scan on nnU-Net's grid.

        Raises:
            ModelError: if nnU-Net refuses the scan.
        """
        with tempfile.TemporaryDirectory(prefix="nnunet-") as folder:
            files = _write_channels(Path(folder), values, affine, spacing)
            preprocessor = self._configuration.preprocessor_class(verbose=False)
            try:
                data, _, properties = preprocessor.run_case(
                    files, None, self._plans, self._configuration, self.dataset
                )
            except (RuntimeError, ValueError, AssertionError, IndexError) as error:
                raise ModelError(f"nnU-Net cannot preprocess the scan: {error}.") from error
        shape = (int(values.shape[1]), int(values.shape[2]), int(values.shape[3]))
        return NnunetCase(torch.from_numpy(np.ascontiguousarray(data, np.float32)), properties, shape)

    def logits(self, network: nn.Module, case: NnunetCase) -> Tensor:
        """Run one network over a scan: nnU-Net's sliding window with its mirroring.

        Args:
            network: from :meth:`load`, or a wrapper round it.
            case: from :meth:`prepare`.

        Returns:
            ``(K, *grid)`` half precision on the CPU, as nnU-Net keeps them.
        """
        predictor = self._predictor
        predictor.network = network
        try:
            logits: Tensor = predictor.predict_sliding_window_return_logits(case.data).to("cpu")
        finally:
            predictor.network = None
        return logits

    @cached_property
    def _predictor(self) -> Any:  # noqa: ANN401  # a class of nnunetv2
        with contextlib.redirect_stdout(io.StringIO()):  # it tells that results stay on the CPU
            predictor = _nnunet("inference.predict_from_raw_data").nnUNetPredictor(
                tile_step_size=0.5,
                use_gaussian=True,
                use_mirroring=self._mirroring is not None,
                perform_everything_on_device=self.device.type == "cuda",
                device=self.device,
                verbose=False,
                verbose_preprocessing=False,
                allow_tqdm=False,
            )
        predictor.manual_initialization(
            None, self._plans, self._configuration, None, self.dataset, "", self._mirroring
        )
        return predictor

    def native(self, logits: Tensor, case: NnunetCase, folder: Path) -> "NativeLogits":
        """Resample logits to the scan's own voxels, a block of classes at a time.

        Args:
            logits: ``(K, *grid)``.
            case: the scan.
            folder: for a temporary file if they are many.

        Returns:
            The logits in the box that nnU-Net cropped the scan to.
        """
        properties, plans, configuration = case.properties, self._plans, self._configuration
        own = [properties["spacing"][axis] for axis in plans.transpose_forward]
        target = list(configuration.spacing)
        current = target if len(target) == len(own) else [own[0], *target]  # a 2-D model keeps its slices
        shape = tuple(int(size) for size in properties["shape_after_cropping_and_before_resampling"])
        whole = _room((len(logits), *shape), folder)
        values = logits.numpy()
        largest = max(values[0].size, int(np.prod(shape)))
        step = max(1, _BLOCK // (8 * largest))  # nnU-Net resamples in float64
        for first in range(0, len(values), step):
            part = slice(first, first + step)
            whole[part] = np.asarray(
                configuration.resampling_fn_probabilities(values[part], shape, current, own)
            )
        return NativeLogits(whole, self._labels, properties)

    def as_nnunet(self, whole: Tensor) -> Tensor:
        """A view of a volume in the file's voxel order whose axes are those of nnU-Net's grid.

        Args:
            whole: ``(..., X, Y, Z)``.

        Returns:
            The view; what is written to it stands in ``whole``.
        """
        return _permuted(whole, self._axes)

    def as_file(self, volume: Tensor) -> Tensor:
        """The reverse of :meth:`as_nnunet`, for a volume ``(..., *grid)``."""
        return _permuted(volume, [self._axes.index(axis) for axis in range(3)])

    @property
    def _axes(self) -> list[int]:
        return [2 - axis for axis in self._plans.transpose_forward]  # readers turn x, y, z round

    @property
    def turns(self) -> bool:
        """Whether the reader brings scans to RAS before anything else."""
        return str(self._plans.plans["image_reader_writer"]).endswith("WithReorient")

    @property
    def _channels(self) -> Mapping[str, Any]:
        named: Mapping[str, Any] = self.dataset.get("channel_names") or self.dataset["modality"]
        return named


@dataclass(frozen=True)
class NativeLogits:
    """Logits on a scan's own voxels, axes as in nnU-Net's array, within the box it cropped the scan to."""

    values: NDArray[np.float16]
    labels: Any
    properties: Mapping[str, Any]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole scan, axes as in nnU-Net's array."""
        return tuple(int(size) for size in self.properties["shape_before_cropping"])

    def probabilities(self, start: int, stop: int) -> Tensor:
        """Probabilities of a slab along the first axis.

        Args:
            start: first slice.
            stop: slice after the last one.

        Returns:
            ``(K, stop - start, ...)`` float32; outside the box background is certain, or no region is.
        """
        box = [list(map(int, pair)) for pair in self.properties["bbox_used_for_cropping"]]
        low, high = max(start, box[0][0]), max(min(stop, box[0][1]), start, box[0][0])
        inside = self.labels.apply_inference_nonlin(
            np.ascontiguousarray(self.values[:, low - box[0][0] : high - box[0][0]])
        )
        slab: Tensor = self.labels.revert_cropping_on_probabilities(
            inside, [[low - start, high - start], *box[1:]], (stop - start, *self.shape[1:])
        )
        return slab


def _permuted(volume: Tensor, axes: Sequence[int]) -> Tensor:
    first = volume.ndim - 3
    return volume.permute(*range(first), *(first + axis for axis in axes))


def _room(shape: tuple[int, ...], folder: Path) -> NDArray[np.float16]:
    if 2 * int(np.prod(shape)) <= _IN_MEMORY:
        return np.empty(shape, np.float16)
    number = len(list(folder.iterdir()))
    path = folder / f"logits-{number}.npy"
    room: NDArray[np.float16] = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]  # NumPy's own
        path, mode="w+", dtype=np.float16, shape=shape
    )
    return room


def _write_channels(
    folder: Path, values: Tensor, affine: NDArray[np.float64], spacing: Sequence[float] | None
) -> list[str]:
    import nibabel as nib  # noqa: PLC0415  # only what is handed to nnU-Net needs it

    files = []
    for number, channel in enumerate(values):
        image = nib.Nifti1Image(channel.numpy(), affine)
        image.set_qform(affine, 1)
        image.set_sform(affine, 1)
        if spacing is not None:
            image.header.set_zooms(tuple(spacing))
        path = folder / f"scan_{number:04d}.nii"
        nib.save(image, path)
        files.append(str(path))
    return files


def _nnunet(module: str) -> Any:  # noqa: ANN401  # an untyped package
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return import_module(f"nnunetv2.{module}")
    except ModuleNotFoundError as error:
        raise ModelError(f"an adopted nnU-Net needs nnunetv2: {install_line('nnunet')}") from error
