"""One step of an optimiser: SGD with momentum, or Adam, in place on flat parameters."""

from dataclasses import dataclass

from datadistill.core.arrays import Params
from datadistill.training.schedules import TrainingRecipe


@dataclass
class Descent:
    """The optimiser of a training with what it remembers.

    Attributes:
        recipe: Momentum, weight decay, and whether it is Adam.
        velocity: Momentum of SGD, or first moment of Adam.
        square: Second moment of Adam; absent for SGD.
        number: Steps taken since the moments were zero.
    """

    recipe: TrainingRecipe
    velocity: Params
    square: Params | None
    number: int

    def forget(self) -> None:
        """Start anew from zero moments."""
        self.number = 0
        self.velocity.zero_()
        if self.square is not None:
            self.square.zero_()

    def __call__(self, params: Params, gradient: Params, lr: float) -> None:
        """Take one step with step size ``lr``: ``params`` change, and ``gradient`` is used up."""
        recipe, adam, first = self.recipe, self.recipe.adam, self.recipe.momentum
        self.number += 1
        if recipe.weight_decay:
            gradient.add_(params, alpha=recipe.weight_decay)
        if adam is not None and self.square is not None:
            self.velocity.lerp_(gradient, 1 - first)
            self.square.mul_(adam.decay).addcmul_(gradient, gradient, value=1 - adam.decay)
            root = (self.square / (1 - adam.decay**self.number)).sqrt_().add_(adam.eps)
            params.addcdiv_(self.velocity, root, value=-lr / (1 - first**self.number))
            return
        if first:
            gradient = self.velocity.mul_(first).add_(gradient)
        params.sub_(gradient, alpha=lr)
