"""Scans and labels: a folder, or a DICOMweb archive with a folder as its cache.

- ``folder``, ``information``, ``snapshot``: which scans and labels there are, and what is known about them
- ``ids``, ``unread``: names of files that are scans, and what lies beside them
- ``changes``, ``history``: files and information changed as one, and what was replaced or deleted
- ``mark``: whether the studies are there; ``tags``: names of kinds of labels
- ``labels``, ``scans``: keeping, replacing, deleting and restoring
- ``datastore``, ``cleaning``: what happens to a label that somebody submits
- ``pacs``, ``connection``, ``dicomweb``: a DICOMweb archive, and the datastore on it
"""
