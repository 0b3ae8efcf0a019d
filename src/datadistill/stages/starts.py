"""The networks that a protocol starts from where that is not at random: known ones, or teachers, trained if need be."""

from dataclasses import replace

from datadistill.core.errors import UsageError
from datadistill.evaluate.protocol import Protocol
from datadistill.evaluate.starts import Start, fixed_starts, start_kind
from datadistill.experts import ExpertStore, train_experts
from datadistill.networks import FlatNetwork
from datadistill.stages.session import Session
from datadistill.stages.teachers import teacher_tasks
from datadistill.synthetic.artifact import Card


def settle_start(
    session: Session, protocol: Protocol, network: FlatNetwork, card: Card
) -> tuple[Protocol, tuple[Start, ...] | None, str | None]:
    """Return the protocol with as many networks as start, where they start from, and that in words.

    Raises:
        UsageError: If there are no such networks.
    """
    kind = start_kind(protocol, card)
    if kind == "random":
        return protocol, None, None
    if kind == "fixed":
        starts = fixed_starts(network, card, session.device)
        words = f"the {len(starts)} networks the set was distilled for" if len(starts) > 1 else "the network it is for"
    else:
        starts = _teachers(session, network, protocol.networks, known=kind == "known-teachers")
        which = "that may have been seen in the distillation" if kind == "known-teachers" else "kept from it"
        words = f"trained on {session.teacher_data.card.name} beforehand, {which}"
    return replace(protocol, networks=len(starts), start=kind), starts, words


def _teachers(session: Session, network: FlatNetwork, count: int, *, known: bool) -> tuple[Start, ...]:
    """Return teachers as starts: those the set was distilled with, or as many others, trained now if they are missing.

    Raises:
        UsageError: If no teacher is of this architecture and size.
    """
    wanted, tasks = session.config.teachers, {task.network.name: task for task in teacher_tasks(session)}
    task = tasks.get(network.name)
    if task is None or task.network.shapes != network.shapes:
        raise UsageError(
            f"start: no teacher is a '{network.name}' for these images and classes, they are {', '.join(tasks)}; "
            "set start = 'random', or other teachers.networks"
        )
    numbers = range(min(count, wanted.count)) if known else range(wanted.count, wanted.count + count)
    title = f"networks to start from, {network.name} (epochs)"
    train_experts(task, numbers.stop, session.reporter, session.executor, title=title)
    store = ExpertStore.open(task.folder, numbers.stop, session.device)
    return tuple(Start(*store.final(j, wanted.at_epoch)) for j in numbers)
