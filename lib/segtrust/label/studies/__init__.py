"""Scans and labels: a folder, or a DICOMweb archive with a folder as its cache.

- ``folder``, ``information``, ``snapshot``: which scans and labels there are, and what is known about them
- ``datastore``, ``cleaning``: what happens to a label that somebody submits
- ``pacs``, ``connection``, ``dicomweb``: a DICOMweb archive, and the datastore on it
"""
