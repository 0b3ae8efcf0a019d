"""Terms: additions to the objective of any method, each a table ``[terms.<name>]`` of a recipe."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from datadistill.core.randomness import Randomness
from datadistill.methods.base import Need, Problem, Term
from datadistill.methods.clom import CCLoM, CLoM


@runtime_checkable
class TermSettings(Protocol):
    """What a term is before it has met a problem; the fields of the frozen dataclass are its hyper-parameters."""

    @property
    def needs(self) -> frozenset[Need]:
        """What must have been trained on real data beforehand."""
        ...

    def prepare(self, problem: Problem, rng: Randomness) -> Term:
        """Return the term, with whatever it looks up again and again worked out; ``rng`` draws the same every time."""
        ...


@dataclass(frozen=True)
class TermEntry:
    """One line of the registry.

    Attributes:
        cls: The settings of the term.
        summary: One line for ``datadistill methods``.
        paper: Reference, as printed.
        bibtex: For ``datadistill cite``.
    """

    cls: type[Any]  # TermSettings; as a type it could not be checked, classes have no protocol with attributes
    summary: str
    paper: str
    bibtex: str


_PAPER = "Lu et al.: Can Pre-Trained Models Assist in Dataset Distillation?, 2023, arXiv:2310.03295"
_BIBTEX = """@misc{lu2023pretrained,
  title         = {Can pre-trained models assist in dataset distillation?},
  author        = {Lu, Yao and Chen, Xuguang and Zhang, Yuchen and Gu, Jianyang and Zhang, Tianle and
                   Zhang, Yifan and Yang, Xiaoniu and Xuan, Qi and Wang, Kai and You, Yang},
  year          = {2023},
  eprint        = {2310.03295},
  archiveprefix = {arXiv}
}"""

TERMS: dict[str, TermEntry] = {
    "clom": TermEntry(CLoM, "a term: cross-entropy of trained networks on the set", _PAPER, _BIBTEX),
    "cclom": TermEntry(CCLoM, "a term: features of trained networks, near those of the class", _PAPER, _BIBTEX),
}
"""Every term by name."""
