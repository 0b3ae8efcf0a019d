"""Families of networks in the store: what one of them is, and which of its members a run uses."""

from pathlib import Path
from typing import Literal

from datadistill.augment import build_augment
from datadistill.core.errors import RunError
from datadistill.data import Preprocess, RealData
from datadistill.experts import ExpertRecipe, ExpertStore, ExpertTask
from datadistill.experts.store import trajectory_path
from datadistill.networks import build_network, canonical_name
from datadistill.runtime.records import ExpertsUsed
from datadistill.stages.session import Session
from datadistill.stages.training_plan import training_compiled
from datadistill.training.fit import Examples
from datadistill.training.schedules import TrainingRecipe


def network_task(
    session: Session,
    network: str,
    training: TrainingRecipe,
    augment: str | None,
    seed: int,
    snapshots: Literal["all", "last"] | tuple[int, ...],
    real: tuple[RealData, Preprocess] | None = None,
) -> ExpertTask:
    """Return what a family of networks is, trained on the real data of the run or on ``real``."""
    data, preprocess = real or (session.data, session.preprocess)
    # A whitening matrix has other last bits on other machines; what it was fitted on counts.
    space = {key: value for key, value in preprocess.description.items() if key != "checksum"}
    recipe = ExpertRecipe(
        dataset=data.card.name,
        data_checksum=data.card.checksum,
        data_split=data.card.split,
        validation=session.config.validation,
        preprocess=space,
        network=canonical_name(network),
        augment=build_augment(augment or session.config.augment).description,
        training=training,
        snapshots=snapshots,
        seed=seed,
    )
    return ExpertTask(
        recipe=recipe,
        folder=Path(session.plan.store) / recipe.key,
        network=build_network(network, data.card.shape, data.classes),
        train=Examples(data.train.images, data.train.labels, preprocess),
        validation=Examples(data.validation.images, data.validation.labels, preprocess),
        compiled=training_compiled(session),
    )


def used(store: ExpertStore) -> ExpertsUsed:
    """Return the record of stored networks that are used."""
    checksums = {trajectory_path(store.folder, s.index).name: s.checksum for s in store.sidecars}
    return ExpertsUsed(content_key=store.folder.name, store=str(store.folder.parent), checksums=checksums)


def check_used(before: ExpertsUsed | None, now: ExpertsUsed) -> None:
    """Refuse other networks than those a run was started with.

    Raises:
        RunError: If they are others.
    """
    if before is None or before.checksums != now.checksums:
        folder = Path(now.store) / now.content_key
        raise RunError(f"{folder}: not the networks this run was started with; start a new run")
