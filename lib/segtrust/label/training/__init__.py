"""Training on the server, with the labels of its studies.

- ``trainer``: the task of a model; ``trainings``: one at a time, beside the server; ``record``: the last one
- ``collect``: roles of the patients, and the labels that a training may use
"""
