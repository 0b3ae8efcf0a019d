"""The part of stage ``experts`` that trains teachers: networks that a method or a term asks what they see."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from datadistill.core.arrays import Images
from datadistill.core.errors import UsageError
from datadistill.data import Preprocess, RealData
from datadistill.experts import ExpertStore, ExpertTask, Teacher, TeacherPool, train_experts
from datadistill.networks import FlatNetwork, build_network
from datadistill.runtime.records import TeachersUsed, load_record, save_record
from datadistill.stages.families import check_used, network_task, used
from datadistill.stages.session import Session


@dataclass(frozen=True)
class _Change:
    """From one network space to another, by way of the pixels; differentiable."""

    before: Preprocess
    after: Preprocess

    def __call__(self, images: Images) -> Images:
        return self.after.from_pixels(self.before.to_pixels(images))


def train_teachers(session: Session, stop: Callable[[], bool]) -> bool:
    """Train the teachers that are missing, and say whether all are there now."""
    count, tasks = session.config.teachers.count, teacher_tasks(session)
    for task in tasks:
        _ = _network(session, task)  # refuses what does not fit before anything is trained
    for task in tasks:
        title = f"teachers, {task.network.name} (epochs)"
        if not train_experts(task, count, session.reporter, session.executor, title=title, stop=stop):
            return False
    _ = open_teachers(session)
    return True


def open_teachers(session: Session) -> TeacherPool:
    """Return the teachers of a run, verified.

    Raises:
        RunError: If they have not been trained, or are not those the run was started with.
        CorruptFileError: If one is damaged.
        UsageError: If they do not fit the images of the run.
    """
    wanted, pools, found = session.config.teachers, {}, []
    own, theirs = session.preprocess, session.teacher_preprocess
    same = own.description == theirs.description
    for task in teacher_tasks(session):
        store = ExpertStore.open(task.folder, wanted.count, session.device)
        network, pools[task.network.name] = _network(session, task), used(store)
        for j in range(wanted.count):
            params, statistics = store.final(j, wanted.at_epoch)
            teacher = Teacher(network, params, statistics)
            found.append(teacher if same else Teacher(network, params, statistics, _Change(own, theirs)))
    record, path = TeachersUsed(dataset=session.teacher_data.card.name, pools=pools), session.run.teachers
    if path.exists():
        for name, pool in pools.items():
            check_used(load_record(TeachersUsed, path).pools.get(name), pool)
    else:
        save_record(path, record)
    return TeacherPool(tuple(found))


def source_of(session: Session) -> tuple[RealData, Preprocess] | None:
    """Return the set the teachers were trained on, where it is not that of the run."""
    if session.teacher_data is session.data:
        return None
    return session.teacher_data, session.teacher_preprocess


def teacher_tasks(session: Session) -> list[ExpertTask]:
    """Return what the teachers of a run are: a family per architecture."""
    wanted = session.config.teachers
    names = wanted.networks or (session.config.network,)
    data, preprocess = session.teacher_data, session.teacher_preprocess
    return [
        network_task(
            session, name, wanted.training, wanted.augment, wanted.seed, wanted.snapshots or "last", (data, preprocess)
        )
        for name in names
    ]


def _network(session: Session, task: ExpertTask) -> FlatNetwork:
    """Return the network of a task for images of the run.

    Raises:
        UsageError: If its parameters would not fit.
    """
    source, data = session.teacher_data, session.data
    if source is data:
        return task.network
    name, shape = task.network.name, data.card.shape
    network = build_network(name, shape, source.classes)
    if network.shapes != task.network.shapes:
        remedy = _remedy(str(session.config.teachers.dataset), source.card.shape, session.config.dataset, shape)
        raise UsageError(
            f"teachers: {name} trained on '{source.card.name}' ({_size(source.card.shape)}) does not fit images of "
            f"'{data.card.name}' ({_size(shape)}); set {remedy}, or take a network for any size"
        )
    return network


def _remedy(teachers: str, theirs: tuple[int, int, int], own: str, ours: tuple[int, int, int]) -> str:
    """Return the setting that gives two data sets, by names and shapes, one size and as many channels."""
    known = ("teachers.dataset", teachers, theirs, ours), ("dataset", own, ours, theirs)
    key, name, now, wanted = known[theirs[0] > ours[0]]
    if name.endswith((".npz", ".parquet", ".toml")):
        return f"{key} to images of {_size(wanted)}"
    options = ["rgb"] if now[0] < wanted[0] else []
    if now[1:] != wanted[1:]:
        name = re.sub(r"-\d+(x\d+)?(?=-|$)", "", name)
        options.append(str(wanted[1]) if wanted[1] == wanted[2] else _size(wanted[1:]))
    return f"{key} = '{'-'.join([name, *options])}'"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
