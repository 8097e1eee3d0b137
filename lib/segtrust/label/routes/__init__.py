"""HTTP: routes that take the place of MONAI Label's, and those that are new.

- ``install``: puts them in, and holds those of inference and of the next scan
- ``studies``, ``scoring``, ``training``: routes of ``/datastore/``, ``/scoring/`` and ``/train/``
- ``uploads``: files that come with a request
"""
