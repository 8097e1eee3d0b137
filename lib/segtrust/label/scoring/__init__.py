"""Scores of the scans that wait, made in the background.

- ``scan_scores``: which are missing, what one prediction gives, what is kept of it
- ``worker``: one thread on the server that yields to viewers
- ``method``: what MONAI Label itself may start
- ``run``, ``jobs``, ``studies``: the same from the command line, with several processes
"""
