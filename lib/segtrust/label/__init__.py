"""segtrust inside a MONAI Label server: the only part that imports monailabel.

- ``app``: the mixin that an app's ``main.py`` adds to ``MONAILabelApp``
- ``served``, ``warmup``: models, predictors and the cache behind all tasks
- ``infer``, ``samples``, ``answer``, ``archive``: the infer tasks of a model; what they answer, and as DICOM
- ``studies``: scans and labels
- ``queue``, ``scoring``: which scan next
- ``training``: the train task
- ``routes``, ``failures``: HTTP
- ``ohif``: the viewer that the server brings along
- ``settings``, ``requests``: what ``--conf`` and a client can ask for
- ``names``, ``environment``: names of structures; how the process is set up
"""

from segtrust.label.environment import prepare_environment

prepare_environment()
