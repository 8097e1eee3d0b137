"""segtrust inside a MONAI Label server: the only part that imports monailabel.

- ``app``: the mixin that an app's ``main.py`` adds to ``MONAILabelApp``
- ``served``: models, predictors and the cache behind all tasks
- ``infer``: the two infer tasks of a model
- ``strategies``, ``scoring``: which scan next
- ``datastore``, ``cleaning``: what happens to a label that somebody submits
- ``folder``, ``information``, ``snapshot``: which scans and labels there are, and what is known about them
- ``pacs``, ``connection``, ``dicomweb``: a DICOMweb archive, and the datastore on it
- ``archive``: predictions as DICOM, for the answer and for the PACS
- ``routes``, ``datastore_routes``, ``failures``: HTTP
"""

from segtrust.label.environment import prepare_environment

prepare_environment()
