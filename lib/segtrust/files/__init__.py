"""The doors: the only code that opens a scan or a label, by its header first and within bounds.

``opening`` yields regular files and nothing else. ``formats`` chooses a format by a file's ending
and holds its content to it; ``nifti``, ``nrrd`` and ``metaimage`` read a typed header from bytes. ``limits``
bounds what a header may claim, before memory is asked for. ``volume`` decodes the voxels to their end.
``series`` has DICOM read by a worker process that can be ended. ``stopping`` ends work that nobody waits for
any more.

Why reading an untrusted NIfTI, NRRD or MetaImage file cannot block and needs no process of its own: it is
opened without waiting, and only a regular file is read (no pipe, device or socket can stand in for one); no
name in it is followed, because headers that name other files are refused from their text; its size and what
its header claims are bounded first, and decompression stops at the claimed size. So the work is a bounded
number of steps of plain zlib and NumPy, and it looks after every few megabytes whether somebody still waits.
DICOM is decoded by ITK's own libraries, of which nobody can say that; therefore it happens in a worker
process with limits of time and memory.
"""

from segtrust.files.formats import read_header
from segtrust.files.geometry import Grid, Reordering, ras_axes, ras_reordering, toward_ras, voxel_size
from segtrust.files.header import ENDINGS, Header, ending_of
from segtrust.files.limits import FileLimits, current_limits, set_limits, use_limits
from segtrust.files.opening import opened
from segtrust.files.stopping import StoppedError, check_stopped, stoppable
from segtrust.files.subjects import SubjectTable, read_subject_table
from segtrust.files.volume import Volume, read_claims, read_volume

__all__ = [
    "ENDINGS",
    "FileLimits",
    "Grid",
    "Header",
    "Reordering",
    "StoppedError",
    "SubjectTable",
    "Volume",
    "check_stopped",
    "current_limits",
    "ending_of",
    "opened",
    "ras_axes",
    "ras_reordering",
    "read_claims",
    "read_header",
    "read_subject_table",
    "read_volume",
    "set_limits",
    "stoppable",
    "toward_ras",
    "use_limits",
    "voxel_size",
]
