"""CLoM, the classification loss of pre-trained models: Lu et al., 2023, arXiv:2310.03295.

Added to the objective of any method, in the paper's symbols, with a network f that was trained on the real data and is
frozen::

    L = α ℓ(f(S), y)

Differences from the reference implementation (yaolu-zjut/DDInterpreter):

* Teachers are asked as at evaluation: batch norm has the statistics of their training, and keeps them.
* The set is looked at in pieces, so that memory does not grow with it: the same gradient.
* Images are brought to the space a teacher was trained in; the reference takes the constants of the target data.
* Several teachers may be asked in one iteration, and their mean taken.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from datadistill.core.arrays import Images, Scalar, Targets
from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.experts import Teacher
from datadistill.methods.base import Problem
from datadistill.methods.teacher_terms import Opinion, TeacherTerm, pieces


@dataclass(frozen=True, kw_only=True)
class CLoM(TeacherTerm):
    """Classification loss of pre-trained models."""

    def opinions(self, problem: Problem, rng: Randomness) -> list[Opinion]:
        """Return the mean cross-entropy of each teacher on a set.

        Raises:
            UsageError: If they were trained on other classes.
        """
        source = problem.source[0].card if problem.source is not None else problem.data.card
        if source.classes != problem.data.card.classes:
            raise UsageError(
                f"clom: its teachers know the classes of '{source.name}', which are not those of "
                f"'{problem.data.card.name}'; take cclom, or leave teachers.dataset out"
            )

        def opinion(teacher: Teacher) -> Opinion:
            def ask(images: Images, targets: Targets) -> tuple[Scalar, Images]:
                total, gradients = images.new_zeros(()), []
                for leaf, own in pieces(images, targets, self.batch_size):
                    loss = F.cross_entropy(teacher(leaf), own, reduction="sum") / len(images)
                    gradients.append(torch.autograd.grad(loss, leaf)[0])
                    total += loss.detach()
                return total, torch.cat(gradients)

            return ask

        return [opinion(teacher) for teacher in problem.require_teachers().teachers]
