"""Stage ``experts``: train what the method needs on real data, or find it in the store."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from datadistill.augment import build_augment
from datadistill.core.errors import RunError
from datadistill.experts import ExpertRecipe, ExpertStore, ExpertTask, train_experts
from datadistill.experts.store import trajectory_path
from datadistill.networks import canonical_name
from datadistill.runtime.records import ExpertsUsed, load_record, save_record
from datadistill.stages.imported_experts import open_imported
from datadistill.stages.session import Session
from datadistill.stages.training_plan import expert_executor, training_compiled
from datadistill.training.fit import Examples
from datadistill.training.schedules import TrainingRecipe


def run_experts(session: Session, stop: Callable[[], bool] = lambda: False) -> None:
    """Train the experts that are missing; those that are there are used as they are.

    Args:
        session: The run.
        stop: Asked between epochs whether to leave the rest for a later call.

    Raises:
        CorruptFileError: If a stored expert is damaged.
        RunError: If a worker died, or imported experts are not there.
        UsageError: If imported experts do not fit the run.
    """
    if "experts" not in session.config.method.needs:
        session.run.update_stage("experts", state="done")
        return
    with session.stage("experts") as ending:
        if session.config.experts.imported:
            _record(session, open_imported(session))
            return
        task = expert_task(session)
        count = session.config.experts.count
        if train_experts(task, count, session.reporter, expert_executor(session, task, count), stop=stop):
            _record(session, ExpertStore.open(task.folder, count, session.device))
        else:
            ending.state = "stopped"


def open_experts(session: Session) -> ExpertStore:
    """Return the experts of a run, verified.

    Raises:
        RunError: If they have not been trained, or are not those the run was started with.
        CorruptFileError: If one is damaged.
        UsageError: If imported experts do not fit the run.
    """
    if session.config.experts.imported:
        store = open_imported(session)
    else:
        store = ExpertStore.open(expert_task(session).folder, session.config.experts.count, session.device)
    _record(session, store)
    return store


def _record(session: Session, store: ExpertStore) -> None:
    """Write down which experts a run uses, or check that they are still the same.

    Raises:
        RunError: If they are not.
    """
    checksums = {trajectory_path(store.folder, s.index).name: s.checksum for s in store.sidecars}
    used = ExpertsUsed(content_key=store.folder.name, store=str(store.folder.parent), checksums=checksums)
    path = session.run.experts
    if not path.exists():
        save_record(path, used)
    elif load_record(ExpertsUsed, path).checksums != checksums:
        raise RunError(f"{store.folder}: not the experts this run was started with; start a new run")


def expert_task(session: Session) -> ExpertTask:
    """Return what the experts of a run are."""
    wanted = session.config.experts
    training = wanted.training(session.config.expert_epochs)
    return _task(session, session.config.network, training, wanted.augment, wanted.seed, "all")


def full_task(session: Session, network: str) -> ExpertTask:
    """Return what the networks trained on the full set are: experts of which only the end is kept."""
    wanted = session.config.full
    return _task(session, network, wanted.training, wanted.augment, wanted.seed, "last")


def _task(
    session: Session,
    network: str,
    training: TrainingRecipe,
    augment: str | None,
    seed: int,
    snapshots: Literal["all", "last"],
) -> ExpertTask:
    data, preprocess = session.data, session.preprocess
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
        network=session.build_network(network),
        train=Examples(data.train.images, data.train.labels, preprocess),
        validation=Examples(data.validation.images, data.validation.labels, preprocess),
        compiled=training_compiled(session),
    )
