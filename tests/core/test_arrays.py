"""The shape names are checked by the hook that the tests install, and mean what they say."""

import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from datadistill.core.arrays import Images, Labels, Pixels, Scalar, Targets


@jaxtyped(typechecker=beartype)
def train(images: Images, targets: Targets) -> Scalar:
    return images.sum() + targets.sum()


def test_matching_shapes_pass() -> None:
    assert train(torch.zeros(2, 3, 4, 4), torch.zeros(2, 10)).item() == 0


@pytest.mark.parametrize(
    ("images", "targets"),
    [
        (torch.zeros(2, 3, 4, 4), torch.zeros(3, 10)),
        (torch.zeros(2, 3, 4), torch.zeros(2, 10)),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 10)),
        (torch.zeros(2, 3, 4, 4), torch.zeros(2, dtype=torch.int64)),
    ],
    ids=["another n", "no channels", "bytes", "labels for targets"],
)
def test_wrong_shapes_and_types_are_refused(images: torch.Tensor, targets: torch.Tensor) -> None:
    with pytest.raises(TypeCheckError):
        train(images, targets)


def test_pixels_are_bytes_and_labels_are_int64() -> None:
    assert isinstance(torch.zeros(1, 1, 2, 2, dtype=torch.uint8), Pixels)
    assert isinstance(torch.zeros(3, dtype=torch.int64), Labels)
    assert not isinstance(torch.zeros(3, dtype=torch.int32), Labels)
