"""Stage ``experts``: train what the method needs on real data, or find it in the store."""

from pathlib import Path

from datadistill.augment import build_augment
from datadistill.experts import ExpertRecipe, ExpertStore, ExpertTask, train_experts
from datadistill.networks import canonical_name
from datadistill.runtime.records import ExpertsUsed, save_record
from datadistill.stages.session import Session
from datadistill.training.fit import Examples
from datadistill.training.schedules import TrainingRecipe


def run_experts(session: Session) -> None:
    """Train the experts that are missing; those that are there are used as they are.

    Raises:
        CorruptFileError: If a stored expert is damaged.
        RunError: If a worker died.
    """
    if "experts" not in session.config.method.needs:
        session.run.update_stage("experts", state="done")
        return
    with session.stage("experts"):
        task = expert_task(session)
        count = session.config.experts.count
        train_experts(task, count, session.reporter, session.executor)
        store = ExpertStore.open(task.folder, count, session.device)
        checksums = {f"trajectory_{s.index:03d}.safetensors": s.checksum for s in store.sidecars}
        used = ExpertsUsed(content_key=task.recipe.key, store=session.plan.store, checksums=checksums)
        save_record(session.run.experts, used)


def open_experts(session: Session) -> ExpertStore:
    """Return the experts of a run, verified.

    Raises:
        RunError: If they have not been trained.
        CorruptFileError: If one is damaged.
    """
    return ExpertStore.open(expert_task(session).folder, session.config.experts.count, session.device)


def expert_task(session: Session) -> ExpertTask:
    """Return what the experts of a run are."""
    wanted = session.config.experts
    training = wanted.training(session.config.expert_epochs)
    return _task(session, training, wanted.augment, wanted.seed)


def full_task(session: Session) -> ExpertTask:
    """Return what the networks trained on the full set are: experts of which only the end is kept."""
    wanted = session.config.full
    return _task(session, wanted.training, wanted.augment, wanted.seed, only_last=True)


def _task(
    session: Session, training: TrainingRecipe, augment: str | None, seed: int, only_last: bool = False
) -> ExpertTask:
    data, preprocess = session.data, session.preprocess
    recipe = ExpertRecipe(
        dataset=data.card.name,
        data_checksum=data.card.checksum,
        data_split=data.card.split,
        validation=session.config.validation,
        preprocess=preprocess.description,
        network=canonical_name(session.config.network),
        augment=build_augment(augment or session.config.augment).description,
        training=training,
        snapshots="last" if only_last else "all",
        seed=seed,
    )
    return ExpertTask(
        recipe=recipe,
        folder=Path(session.plan.store) / recipe.key,
        network=session.network,
        train=Examples(data.train.images, data.train.labels, preprocess),
        validation=Examples(data.validation.images, data.validation.labels, preprocess),
    )
