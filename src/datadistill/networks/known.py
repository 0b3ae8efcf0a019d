"""Initial weights that a seed and a number stand for: who distils for them and who evaluates on them draw the same."""

from datadistill.core.arrays import Params
from datadistill.core.randomness import Randomness
from datadistill.networks.flat import FlatNetwork


def known_weights(network: FlatNetwork, seed: int, number: int) -> Params:
    """Return the weights of known network ``number``, from 0, of a run with this seed; float32 on the CPU."""
    return network.initial(Randomness(seed).child("known network", number).stream("initial weights"))
