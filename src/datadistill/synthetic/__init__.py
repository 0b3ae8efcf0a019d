"""The learned set: its first images, its learnable state, its artifact on disk, its pictures.

The artifact is the border: evaluation and reports see it and cannot tell which method made it.
"""
