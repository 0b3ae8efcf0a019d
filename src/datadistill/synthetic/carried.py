"""A learned set with a network that is carried along from iteration to iteration."""

from torch import Tensor

from datadistill.core.arrays import Images, Params, Statistics, Targets
from datadistill.synthetic.learnable import LearnableSet, Rates


class SetWithNetwork(LearnableSet):
    """A learnable set, and the weights of the network that it is matched in.

    Attributes:
        params: The weights.
        statistics: Of its batch-norm layers; empty without any.
    """

    def __init__(self, images: Images, targets: Targets, rates: Rates, params: Params, statistics: Statistics) -> None:
        super().__init__(images, targets, rates)
        self.params, self.statistics = params.to(images).clone(), statistics.to(images).clone()

    def tensors(self) -> dict[str, Tensor]:
        """Return values, momenta, and the network by name."""
        return {**super().tensors(), "network.params": self.params, "network.statistics": self.statistics}
