"""Stage ``experts``: train what method and terms need on real data, or find it in the store."""

from collections.abc import Callable

from datadistill.experts import ExpertStore, ExpertTask, train_experts
from datadistill.runtime.records import ExpertsUsed, load_record, save_record
from datadistill.stages.families import check_used, network_task, used
from datadistill.stages.imported_experts import open_imported
from datadistill.stages.session import Session
from datadistill.stages.teachers import train_teachers
from datadistill.stages.training_plan import expert_executor


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
    if not session.config.needs:
        session.run.update_stage("experts", state="done")
        return
    with session.stage("experts") as ending:
        trainings = {"experts": _train_experts, "teachers": train_teachers}
        if not all(trainings[need](session, stop) for need in sorted(session.config.needs)):
            ending.state = "stopped"


def _train_experts(session: Session, stop: Callable[[], bool]) -> bool:
    """Train the experts that are missing, and say whether all are there now."""
    if session.config.experts.imported:
        _record(session, open_imported(session))
        return True
    task, count = expert_task(session), session.config.experts.count
    done = train_experts(task, count, session.reporter, expert_executor(session, task, count), stop=stop)
    if done:
        _record(session, ExpertStore.open(task.folder, count, session.device))
    return done


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
    path, now = session.run.experts, used(store)
    if path.exists():
        check_used(load_record(ExpertsUsed, path), now)
    else:
        save_record(path, now)


def expert_task(session: Session) -> ExpertTask:
    """Return what the experts of a run are."""
    wanted = session.config.experts
    training = wanted.training(session.config.expert_epochs)
    return network_task(session, session.config.network, training, wanted.augment, wanted.seed, "all")


def full_task(session: Session, network: str) -> ExpertTask:
    """Return what the networks trained on the full set are: experts of which only the end is kept."""
    wanted = session.config.full
    return network_task(session, network, wanted.training, wanted.augment, wanted.seed, "last")
