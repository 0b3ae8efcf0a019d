"""Looking at many images is looking at parts of them."""

import torch

from datadistill.core.randomness import Randomness
from datadistill.networks import build_network
from datadistill.training import looking


def test_in_parts_it_is_the_same_and_no_part_is_too_large(monkeypatch):
    network = build_network("convnet-1-w8", (1, 8, 8), 3)
    params = network.initial(Randomness(0).stream("weights")).double().requires_grad_()
    images = torch.randn(10, 1, 8, 8, generator=Randomness(0).stream("images"), dtype=torch.float64)
    whole, sizes = network(params, images), []
    monkeypatch.setattr(looking, "LOOKED_AT", 4)
    monkeypatch.setattr(network, "_module", _Spied(network._module, sizes))
    found = looking.logits_of(network, params, images)
    torch.testing.assert_close(found, whole)
    assert (sizes, found.requires_grad) == ([4, 4, 2], False)


class _Spied(torch.nn.Module):
    """A module that writes down how many images it is shown."""

    def __init__(self, module: torch.nn.Module, sizes: list[int]) -> None:
        super().__init__()
        self.module, self.sizes = module, sizes

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.sizes.append(len(images))
        return self.module(images)
