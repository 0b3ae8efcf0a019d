"""Accuracy, counted by hand."""

import pytest
import torch
from torch import nn

from datadistill.networks import FlatNetwork, build_network
from datadistill.training.accuracy import accuracy
from datadistill.training.fit import Examples

NOTHING = torch.empty(0)


def first_pixels():
    """A network whose logits are the first three pixels."""
    network = FlatNetwork(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3, bias=False)), name="pixels")
    return network, torch.eye(3, 4).flatten()


@pytest.mark.parametrize("n", [1, 511, 512, 513, 1500])
def test_counts_every_image_once(n):
    network, params = first_pixels()
    images = torch.randn(n, 1, 2, 2, generator=torch.Generator().manual_seed(n))
    labels = torch.arange(n) % 3
    right = sum(
        image.flatten()[:3].argmax().item() == label.item() for image, label in zip(images, labels, strict=True)
    )
    assert accuracy(network, params, NOTHING, Examples(images, labels)) == right / n


def test_prepares_batch_by_batch():
    network, params = first_pixels()
    sizes = []

    def prepare(rows):
        sizes.append(len(rows))
        return rows.float()

    images = torch.zeros(1100, 1, 2, 2, dtype=torch.uint8)
    images[:, 0, 0, 1] = 1
    assert accuracy(network, params, NOTHING, Examples(images, torch.ones(1100).long(), prepare)) == 1.0
    assert sum(sizes) == 1100
    assert len(sizes) > 1


def test_batch_norm_uses_the_given_statistics():
    """With the statistics of the batch, adding a constant to all images would change nothing."""
    network = build_network("convnet-1-w4-batchnorm", (1, 8, 8), 3)
    generator = torch.Generator().manual_seed(0)
    params, images = network.initial(generator), torch.randn(300, 1, 8, 8, generator=generator)
    statistics = network.initial_statistics()
    expected = network(params, images, statistics).argmax(1)
    assert accuracy(network, params, statistics, Examples(images, expected)) == 1.0
    assert accuracy(network, params, statistics + 0.5, Examples(images, expected)) < 1.0


def test_of_nothing_is_refused():
    network, params = first_pixels()
    with pytest.raises(ValueError, match="no images"):
        accuracy(network, params, NOTHING, Examples(torch.empty(0, 1, 2, 2), torch.empty(0).long()))
