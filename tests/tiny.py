"""The smallest real thing: data, a problem, experts, and a setting of every method.

``SETTINGS`` needs one line per method; ``tests/conformance/test_every_method.py`` does the rest.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from datadistill.augment import build_augment
from datadistill.core.randomness import Randomness
from datadistill.data import RealData, fit_preprocess
from datadistill.data.assemble import assemble, make_split
from datadistill.data.split import hold_out
from datadistill.experts import ExpertRecipe, ExpertStore, ExpertTask, Teacher, TeacherPool, train_experts
from datadistill.methods import APM, ATT, DATM, DC, DM, MTT, BackProp, Problem
from datadistill.networks import build_network
from datadistill.runtime.progress import Silent
from datadistill.synthetic.initial import initial_set
from datadistill.training.fit import Examples
from datadistill.training.schedules import TrainingRecipe
from datadistill.unroll import Unroll

SHAPE, CLASSES, IPC = (1, 8, 8), 3, 2
NETWORK, SMOOTH_NETWORK = "convnet-1-w4", "convnet-1-w4-sigmoid"


@dataclass(frozen=True)
class Setting:
    """How the conformance tests run a method.

    Attributes:
        method: Takes a few milliseconds per iteration.
        fixed: The same, but its objective is the same function of the set in every iteration.
        objective: The metric whose gradient the method gives.
        own_start: Whether it chooses images and targets to start from by itself.
    """

    method: Any
    fixed: Any
    objective: str
    own_start: bool = False


_SEGMENTS = {
    "expert_epochs": 2,
    "student_steps": 3,
    "max_start_epoch": 2,
    "batch_syn": 4,
    "image_lr": 20.0,
    "student_lr": 0.05,
    "student_lr_lr": 1e-4,
}
_MTT, _ATT = MTT(**_SEGMENTS), ATT(**_SEGMENTS, average_decay=0.9)
_DATM = DATM(**_SEGMENTS, first_max_start_epoch=1, expansion_iterations=2, label_lr=1.0, loss_threshold=2.0)
_DM = DM(batch_real=8, image_lr=1.0)
_DC = DC(outer_loop=2, inner_loop=2, batch_real=8, image_lr=1.0, network_lr=0.1, batch_train=4)
_BACKPROP = BackProp(batches=2, passes=2, student_lr=0.1, image_lr=0.02, batch_real=16, networks=2)

_APM = APM(image_lr=5.0, refresh_every=2, snapshots=2, student_epochs=4, chunk=4)

SETTINGS: dict[str, Setting] = {
    "apm": Setting(_APM, replace(_APM, refresh_every=100), "objective"),
    "att": Setting(_ATT, replace(_ATT, max_start_epoch=1, batch_syn=None), "matching_loss"),
    "backprop": Setting(_BACKPROP, replace(_BACKPROP, batch_real=1000, initial_weights="fixed"), "real_loss"),
    "datm": Setting(
        _DATM,
        replace(_DATM, first_max_start_epoch=None, expansion_iterations=None, max_start_epoch=1, batch_syn=None),
        "matching_loss",
        own_start=True,
    ),
    "dc": Setting(_DC, replace(_DC, outer_loop=100, inner_loop=0, batch_real=1000, image_lr=0.3), "gradient_distance"),
    "dm": Setting(_DM, replace(_DM, batch_real=1000, iterations_per_network=100), "feature_distance"),
    "mtt": Setting(_MTT, replace(_MTT, max_start_epoch=1, batch_syn=None), "matching_loss"),
}


def real_data(
    *, train_per_class: int = 20, test_per_class: int = 10, validation: int = 0, signal: int = 90, noise: int = 120
) -> RealData:
    """Three classes of 8 × 8 pixels: a bright bar at another place in each, under noise."""
    generator = Randomness(0).stream("tiny data")

    def split(per_class: int, name: str) -> Any:
        labels = torch.arange(CLASSES).repeat(per_class)
        images = torch.randint(0, noise, (len(labels), *SHAPE), generator=generator)
        for label in range(CLASSES):
            images[labels == label, :, :, 2 * label : 2 * label + 3] += signal
        return make_split(images.to(torch.uint8), labels, CLASSES, name)

    data = assemble(
        split(train_per_class, "train"),
        split(test_per_class, "test"),
        name="bars",
        classes=tuple(f"bar {label}" for label in range(CLASSES)),
        source="made by tests/tiny.py",
        licence="none",
        split="made apart",
    )
    return hold_out(data, validation)


def expert_task(
    store: Path,
    *,
    data: RealData | None = None,
    network: str = NETWORK,
    epochs: int = 3,
    validation: int = 0,
    snapshots: Any = "all",
    **changes: Any,
) -> ExpertTask:
    """A task whose experts take a few milliseconds per epoch; ``changes`` are fields of the recipe."""
    data = data or real_data(validation=validation)
    preprocess = fit_preprocess("normalise", data)
    flat = build_network(network, SHAPE, CLASSES)
    fields: dict[str, Any] = {
        "dataset": data.card.name,
        "data_checksum": data.card.checksum,
        "data_split": data.card.split,
        "validation": validation,
        "preprocess": preprocess.description,
        "network": flat.name,
        "augment": "none",
        "training": TrainingRecipe(epochs=epochs, batch_size=16, lr=0.05, momentum=0.5),
        "snapshots": snapshots,
        "seed": 0,
    }
    recipe = ExpertRecipe(**{**fields, **changes})
    return ExpertTask(
        recipe=recipe,
        folder=store / recipe.key,
        network=flat,
        train=Examples(data.train.images, data.train.labels, preprocess),
        validation=Examples(data.validation.images, data.validation.labels, preprocess),
    )


def experts(store: Path, count: int = 2, **changes: Any) -> ExpertStore:
    """Train ``count`` experts in ``store``, or find them there."""
    task = expert_task(store, **changes)
    train_experts(task, count, Silent())
    return ExpertStore.open(task.folder, count, torch.device("cpu"))


def problem(
    store: Path | None,
    *,
    data: RealData | None = None,
    network: str = NETWORK,
    augment: str = "dsa",
    count: int = 2,
    dtype: torch.dtype = torch.float32,
    **engine: Any,
) -> Problem:
    """A problem with everything that any method may ask for; without a ``store``, without experts."""
    data = data or real_data()
    preprocess = fit_preprocess("normalise", data)
    flat, chosen = build_network(network, SHAPE, CLASSES), build_augment(augment)
    trained = None if store is None else experts(store, count, network=network, data=data)
    images, targets = initial_set("real", data, preprocess, ipc=IPC, rng=Randomness(0))
    return Problem(
        data=data,
        preprocess=preprocess,
        network=flat,
        augment=chosen,
        initial_images=images.to(dtype),
        initial_targets=targets.to(dtype),
        unroll=Unroll(flat, chosen, **engine),
        experts=trained,
        teachers=None
        if trained is None
        else TeacherPool(tuple(Teacher(flat, *trained.final(j)) for j in range(count))),
        iterations=20,
    )


def one_objective(store: Path, **options: Any) -> Problem:
    """A problem with one expert and no augmentation, for :attr:`Setting.fixed`."""
    return problem(store, augment="none", count=1, **options)
