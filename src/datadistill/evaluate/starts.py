"""How evaluation networks start: at random, as the networks a set was distilled for, or trained on real data."""

from dataclasses import dataclass
from typing import Literal

import torch

from datadistill.core.arrays import Params, Statistics
from datadistill.core.errors import UsageError
from datadistill.evaluate.protocol import Protocol
from datadistill.networks import FlatNetwork
from datadistill.networks.known import known_weights
from datadistill.synthetic.artifact import Card

Kind = Literal["random", "fixed", "teachers", "known-teachers"]


@dataclass(frozen=True)
class Start:
    """Where one network starts from; nothing in it changes.

    Attributes:
        params: Its parameters.
        statistics: Of its batch-norm layers.
    """

    params: Params
    statistics: Statistics


def start_kind(protocol: Protocol, card: Card) -> Kind:
    """Return how networks start under a protocol: as it says, else, in the order of the set, as the set's card says."""
    if protocol.start is not None:
        return protocol.start
    learned = card.hyper_parameters.get("initial_weights")
    if protocol.ordered and learned == "fixed":
        return "fixed"
    return "teachers" if protocol.ordered and learned == "teachers" else "random"


def fixed_starts(network: FlatNetwork, card: Card, device: torch.device) -> tuple[Start, ...]:
    """Return the starts of all networks a set was distilled for.

    Raises:
        UsageError: If it was not distilled for such networks, or for others.
    """
    if card.hyper_parameters.get("initial_weights") != "fixed":
        raise UsageError("start = 'fixed': the set was not distilled for fixed networks; leave 'start' out")
    if network.name != card.network:
        raise UsageError(
            f"start = 'fixed': the set was distilled for fixed weights of '{card.network}', not of '{network.name}'; "
            "set start = 'random'"
        )
    count, statistics = int(card.hyper_parameters.get("networks", 1)), network.initial_statistics().to(device)
    return tuple(Start(known_weights(network, card.seed, j).to(device), statistics) for j in range(count))
