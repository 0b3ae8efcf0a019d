"""One file per method, named as in its paper.

Methods never import each other: what two share goes down a floor, or into ``base``, ``classwise``, ``draws``,
``segments`` and ``student``, which are none.
"""

from dataclasses import dataclass
from typing import Any

from datadistill.methods.apm import APM
from datadistill.methods.att import ATT
from datadistill.methods.backprop import BackProp
from datadistill.methods.base import Method, Metrics, Problem, Unrolled, step
from datadistill.methods.datm import DATM
from datadistill.methods.dc import DC
from datadistill.methods.dm import DM
from datadistill.methods.mtt import MTT
from datadistill.methods.terms import TERMS, TermEntry


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


@dataclass(frozen=True)
class VariantEntry:
    """A published method that is a choice of switches of one in the registry.

    Attributes:
        summary: The switches, in one line for ``datadistill methods``.
        paper: Reference, as printed.
        bibtex: For ``datadistill cite``.
    """

    summary: str
    paper: str
    bibtex: str


METHODS: dict[str, MethodEntry] = {
    "apm": MethodEntry(
        APM,
        "images on which a teacher and students of the set disagree, with its labels",
        "Chen et al.: Dataset Distillation via Adversarial Prediction Matching, 2023",
        """@misc{chen2023dataset,
  title         = {Dataset Distillation via Adversarial Prediction Matching},
  author        = {Chen, Mingyang and Huang, Bo and Lu, Junda and Li, Bing and Wang, Yi and
                   Cheng, Minhao and Wang, Wei},
  year          = {2023},
  eprint        = {2312.08912},
  archivePrefix = {arXiv}
}""",
    ),
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
    "backprop": MethodEntry(
        BackProp,
        "the loss on real images, back-propagated through the training on the set",
        "Wang et al.: Dataset Distillation, arXiv:1811.10959, 2018",
        """@article{wang2018dataset,
  title   = {Dataset Distillation},
  author  = {Wang, Tongzhou and Zhu, Jun-Yan and Torralba, Antonio and Efros, Alexei A.},
  journal = {arXiv preprint arXiv:1811.10959},
  year    = {2018}
}""",
    ),
    "datm": MethodEntry(
        DATM,
        "as mtt, with learned labels and segments as difficult as the set is large",
        "Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024",
        """@inproceedings{guo2024towards,
  title     = {Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching},
  author    = {Guo, Ziyao and Wang, Kai and Cazenavette, George and Li, Hui and
               Zhang, Kaipeng and You, Yang},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    ),
    "dc": MethodEntry(
        DC,
        "match the gradients of real and of synthetic images, class by class",
        "Zhao et al.: Dataset Condensation with Gradient Matching, ICLR 2021",
        """@inproceedings{zhao2021dataset,
  title     = {Dataset Condensation with Gradient Matching},
  author    = {Zhao, Bo and Mopuri, Konda Reddy and Bilen, Hakan},
  booktitle = {International Conference on Learning Representations},
  year      = {2021}
}""",
    ),
    "dm": MethodEntry(
        DM,
        "match the mean features of real and of synthetic images in random networks",
        "Zhao & Bilen: Dataset Condensation with Distribution Matching, WACV 2023",
        """@inproceedings{zhao2023distribution,
  title     = {Dataset Condensation with Distribution Matching},
  author    = {Zhao, Bo and Bilen, Hakan},
  booktitle = {Proceedings of the IEEE/CVF Winter Conference on Applications of Computer Vision},
  year      = {2023}
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

VARIANTS: dict[str, VariantEntry] = {
    "dsa": VariantEntry(
        "dc, with augment = dsa and initial = real",
        "Zhao & Bilen: Dataset Condensation with Differentiable Siamese Augmentation, ICML 2021",
        """@inproceedings{zhao2021differentiable,
  title     = {Dataset Condensation with Differentiable {S}iamese Augmentation},
  author    = {Zhao, Bo and Bilen, Hakan},
  booktitle = {International Conference on Machine Learning},
  year      = {2021}
}""",
    ),
    "ftd": VariantEntry(
        "mtt, with experts.optimiser = gsam and an average_decay",
        "Du et al.: Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation, CVPR 2023",
        """@inproceedings{du2023minimizing,
  title     = {Minimizing the Accumulated Trajectory Error to Improve Dataset Distillation},
  author    = {Du, Jiawei and Jiang, Yidi and Tan, Vincent Y. F. and Zhou, Joey Tianyi and Li, Haizhou},
  booktitle = {Proceedings of the IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2023}
}""",
    ),
    "rat-bptt": VariantEntry(
        "backprop, with a window, order = shuffled, optimiser = adam and clip",
        "Feng et al.: Embarrassingly Simple Dataset Distillation, ICLR 2024",
        """@inproceedings{feng2024embarrassingly,
  title     = {Embarrassingly Simple Dataset Distillation},
  author    = {Feng, Yunzhen and Vedantam, Ramakrishna and Kempe, Julia},
  booktitle = {International Conference on Learning Representations},
  year      = {2024}
}""",
    ),
    "tesla": VariantEntry(
        "mtt, with rule = tesla, which is not the gradient, or labels = teacher",
        "Cui et al.: Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023",
        """@inproceedings{cui2023scaling,
  title     = {Scaling Up Dataset Distillation to {ImageNet-1K} with Constant Memory},
  author    = {Cui, Justin and Wang, Ruochen and Si, Si and Hsieh, Cho-Jui},
  booktitle = {International Conference on Machine Learning},
  year      = {2023}
}""",
    ),
}
"""Published methods that need no class of their own, by name."""

PUBLISHED: dict[str, MethodEntry | VariantEntry | TermEntry] = {**METHODS, **VARIANTS, **TERMS}
"""Whatever has a paper, by name."""

__all__ = [
    "APM",
    "ATT",
    "DATM",
    "DC",
    "DM",
    "METHODS",
    "MTT",
    "PUBLISHED",
    "VARIANTS",
    "BackProp",
    "Method",
    "MethodEntry",
    "Metrics",
    "Problem",
    "Unrolled",
    "VariantEntry",
    "step",
]
