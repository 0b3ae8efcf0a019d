"""What a distilled set has to beat: random real images of the same number."""

from datadistill.core.randomness import Randomness
from datadistill.data import Preprocess, RealData
from datadistill.evaluate.run import Subject
from datadistill.synthetic.initial import initial_set
from datadistill.training.fit import Examples


def random_real(data: RealData, preprocess: Preprocess, *, ipc: int, draws: int, lr: float, rng: Randomness) -> Subject:
    """Return ``draws`` independent draws of ``ipc`` real training images per class.

    Raises:
        DataError: If a class has fewer than ``ipc`` training images.
    """
    sets = []
    for draw in range(draws):
        images, targets = initial_set("real", data, preprocess, ipc=ipc, rng=rng.child("random real", draw))
        sets.append(Examples(images, targets))
    return Subject("random", f"random real, {draws} draws", tuple(sets), lr)
