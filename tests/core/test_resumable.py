"""The protocol of a checkpoint's contents can be checked on an object."""

from torch import Tensor

from datadistill.core.resumable import Resumable


class Both:
    def tensors(self) -> dict[str, Tensor]:
        return {}

    def restore(self, tensors: dict[str, Tensor]) -> None: ...


class Half:
    def tensors(self) -> dict[str, Tensor]:
        return {}


def test_an_object_is_resumable_when_it_has_both_directions() -> None:
    assert isinstance(Both(), Resumable)
    assert not isinstance(Half(), Resumable)
