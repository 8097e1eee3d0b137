"""The doors: each reads one kind of file to its end, checks it, and returns a value that can be trusted."""

from segtrust.files.subjects import SubjectTable, read_subject_table

__all__ = ["SubjectTable", "read_subject_table"]
