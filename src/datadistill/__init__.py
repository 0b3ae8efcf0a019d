"""datadistill: a few synthetic images per class on which a network trains almost as well as on the full data set.

The public names are those listed in ``__all__``; importing the package does no work and needs neither the
command line's dependencies nor a GPU.
"""

from typing import Any

__version__ = "0.1.0"
