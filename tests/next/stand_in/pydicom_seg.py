"""Stands in for pydicom-seg, which MONAI Label 0.8.5 imports and its next release drops for highdicom.

The real package cannot be imported beside pydicom 3 and refuses NumPy 2. Nothing of segtrust calls it.
"""
