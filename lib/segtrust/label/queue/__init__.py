"""Which scan next, and for whom.

- ``queue``: hands scans out under leases, in turn with those drawn by lot
- ``ranking``: the order of the scans that wait, kept until something changes
- ``strategies``: the same for MONAI Label and its viewers
- ``annotators``, ``reviews``: who asks; which slices of a label somebody looked at
"""
