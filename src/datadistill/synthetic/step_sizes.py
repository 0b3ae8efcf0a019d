"""A learned set whose step sizes are learned through a softplus, as Dataset Distillation (Wang et al., 2018) does."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from datadistill.core.arrays import Images, Targets
from datadistill.synthetic.learnable import LearnableSet, Rates
from datadistill.synthetic.soft_labels import SoftLabelledSet


class SoftplusSet(LearnableSet):
    """A learnable set with step sizes softplus(r); r, the tensor ``raw_student_lr``, is what is kept and learned.

    Args:
        images: Before the first update.
        targets: Before the first update, or what stands for them.
        rates: How each tensor is updated.
        student_lr: Positive step sizes before the first update.
    """

    lr_tensor: ClassVar[str] = "raw_student_lr"

    def __init__(self, images: Images, targets: Targets, rates: Rates, student_lr: Tensor) -> None:
        raw = student_lr + torch.log(-torch.expm1(-student_lr))  # the inverse, without overflow
        super().__init__(images, targets, rates, raw)

    @property
    def student_lr(self) -> Tensor:
        """The student's step sizes, positive."""
        return F.softplus(self.values["raw_student_lr"])

    def through_softplus(self, gradient: Tensor) -> Tensor:
        """Return the gradient with respect to r, from that with respect to the step sizes."""
        return gradient * self.values["raw_student_lr"].sigmoid()


class SoftLabelledSoftplusSet(SoftplusSet, SoftLabelledSet):
    """A learnable set with step sizes softplus(r) and targets softmax(z)."""
