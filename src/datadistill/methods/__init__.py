"""One file per method, named as in its paper.

Methods never import each other: what two share goes down a floor, or into ``base`` and ``segments``, which are none.
"""

from dataclasses import dataclass
from typing import Any

from datadistill.methods.att import ATT
from datadistill.methods.base import Method, Metrics, Problem, Unrolled, step
from datadistill.methods.mtt import MTT


@dataclass(frozen=True)
class MethodEntry:
    """One line of the registry.

    Attributes:
        cls: The method; its fields are its hyper-parameters.
        summary: One line for ``datadistill methods``.
        paper: Reference, as printed.
        bibtex: For ``datadistill cite``.
    """

    cls: type[Any]  # a Method; as a type it could not be checked, classes have no protocol with attributes
    summary: str
    paper: str
    bibtex: str


METHODS: dict[str, MethodEntry] = {
    "att": MethodEntry(
        ATT,
        "as mtt, with the number of student steps chosen in every iteration",
        "Liu et al.: Dataset Distillation by Automatic Training Trajectories, ECCV 2024",
        """@inproceedings{liu2024dataset,
  title     = {Dataset Distillation by Automatic Training Trajectories},
  author    = {Liu, Dai and Gu, Jindong and Cao, Hu and Trinitis, Carsten and Schulz, Martin},
  booktitle = {European Conference on Computer Vision},
  year      = {2024}
}""",
    ),
    "mtt": MethodEntry(
        MTT,
        "match the path of networks trained on real data",
        "Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022",
        """@inproceedings{cazenavette2022dataset,
  title     = {Dataset Distillation by Matching Training Trajectories},
  author    = {Cazenavette, George and Wang, Tongzhou and Torralba, Antonio and
               Efros, Alexei A. and Zhu, Jun-Yan},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022}
}""",
    ),
}
"""Every method by name."""

__all__ = ["ATT", "METHODS", "MTT", "Method", "MethodEntry", "Metrics", "Problem", "Unrolled", "step"]
