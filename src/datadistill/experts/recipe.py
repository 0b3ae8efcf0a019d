"""How a family of experts is trained, and the key that names their folder."""

from dataclasses import dataclass
from typing import Any, Literal

from datadistill.core.structure import unstructure
from datadistill.runtime.atomic import content_key
from datadistill.training.schedules import TrainingRecipe


@dataclass(frozen=True, kw_only=True)
class ExpertRecipe:
    """Everything that changes the weights of an expert. How many there are does not, and is not here.

    Attributes:
        dataset: Name of the real data set.
        data_checksum: Checksum of its bytes.
        data_split: How validation and test were separated, in words.
        validation: Training images held out.
        preprocess: Description of the pixel space.
        network: Canonical name.
        augment: Canonical name.
        training: Epochs, step size, momentum and schedule.
        snapshots: ``all``: parameters are kept before the first epoch and after each; ``last``: only at the end; or the
            epochs after which they are kept, in ascending order.
        seed: Expert ``j`` draws from the streams ``("expert", j)`` of this seed.
    """

    dataset: str
    data_checksum: str
    data_split: str
    validation: int
    preprocess: dict[str, Any]
    network: str
    augment: str
    training: TrainingRecipe
    snapshots: Literal["all", "last"] | tuple[int, ...] = "all"
    seed: int

    @property
    def kept(self) -> tuple[int, ...]:
        """The epochs after which parameters are kept, in order; 0 is before the first."""
        last = self.training.epochs_run
        if isinstance(self.snapshots, tuple):
            return self.snapshots
        return (last,) if self.snapshots == "last" else tuple(range(last + 1))

    @property
    def key(self) -> str:
        """Sixteen hexadecimal digits that change with every field."""
        return content_key({"experts": 1, **unstructure(self)})
