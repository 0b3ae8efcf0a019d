"""Choose how networks are trained on real and on distilled sets: how many side by side, and whether compiled.

One choice for all networks of a run, made for the largest of them.
"""

from collections import Counter
from functools import partial

import torch

from datadistill.core.errors import UsageError
from datadistill.core.randomness import Randomness
from datadistill.experts import ExpertTask
from datadistill.methods.base import FORWARDS_PER_GRADIENT, WithoutStudents
from datadistill.networks import FlatNetwork
from datadistill.runtime.device import total_bytes, usable_cores
from datadistill.runtime.executor import Executor, SideBySide
from datadistill.stages.memory import estimate
from datadistill.stages.planning import compiler_fails, forward_operations, worth_compiling
from datadistill.stages.session import Session
from datadistill.training.fit import Examples, Fitted, fit
from datadistill.training.schedules import TrainingRecipe

_TRIED_IMAGES = 8

_WORTH_SIDE_BY_SIDE = 4
"""Cores from which on experts train side by side unasked: batches of real images fill fewer. By count, not measured."""


def evaluation_executor(session: Session) -> Executor:
    """Return what trains evaluation networks: how many at once is in the plan, or decided now and written there.

    Raises:
        UsageError: If the recipe wants several at once on a GPU.
    """
    if session.plan.side_by_side is None:
        wanted = session.config.side_by_side
        if session.device.type != "cpu" and (wanted or 1) > 1:
            raise UsageError(f"side_by_side is {wanted}: networks train side by side on a CPU only")
        session.change_plan(side_by_side=_side_by_side(session) if wanted is None else wanted)
    together = session.plan.side_by_side or 1
    return SideBySide(together) if together > 1 else session.executor


def expert_executor(session: Session, task: ExpertTask, count: int) -> Executor:
    """Return what trains networks on real images: side by side like evaluation networks, where that is faster."""
    together = experts_together(session, task, count)
    return SideBySide(together) if together > 1 else session.executor


def experts_together(session: Session, task: ExpertTask, count: int) -> int:
    """Return how many of ``count`` networks are trained on real images at once in one process.

    As many as evaluation networks, if memory is enough and there is one for every core. It depends on how many there
    are in all, not on how many are missing: a core more or less changes last bits.
    """
    evaluation_executor(session)  # decides how many networks are trained at once
    batch = min(task.recipe.training.batch_size, len(task.train))
    each = estimate(task.network, session.data.card.shape, session.data.classes, batch=batch, steps=1).step
    together = min(session.plan.side_by_side or 1, max(1, total_bytes(session.device) // 2 // each))
    least = _WORTH_SIDE_BY_SIDE if session.config.side_by_side is None else 2
    return together if least <= together <= count else 1


def _side_by_side(session: Session) -> int:
    """Return one network per core, as far as memory goes, where neither processes nor a GPU do the work."""
    if session.device.type != "cpu" or session.config.workers > 1:
        return 1
    each = max(judging_bytes(session, name) for name in session.config.protocols)
    return max(1, min(usable_cores(), total_bytes(session.device) // 2 // each))


def judging_bytes(session: Session, protocol: str) -> int:
    """Return the memory of training one network under a protocol: the evaluation network's, or the student's if larger.

    An upper bound, of a step that is differentiated twice.
    """
    config, classes = session.config, session.data.classes
    batch = min(config.protocol(protocol).batch_size, config.ipc * classes) * config.windows
    networks = (session.network, session.build_network(config.protocol(protocol).network or config.network))
    return max(
        estimate(network, session.data.card.shape, classes, batch=batch, steps=1).step
        for network in {network.name: network for network in networks}.values()
    )


def training_compiled(session: Session) -> bool:
    """Return whether the steps of ordinary training are compiled: from the plan, or decided now and written there."""
    if session.plan.training_compiled is None:
        images, shape = _images_trained_on(session), session.data.card.shape
        networks = {name: session.build_network(name) for name in images}
        forwards = (images[name] * forward_operations(network, shape) for name, network in networks.items())
        worth = worth_compiling(session, FORWARDS_PER_GRADIENT * max(forwards))
        able = worth and all(  # in turn, up to the first that fails and says so
            compiler_fails(session, name, partial(_try_training, session, network)) is None
            for name, network in networks.items()
        )
        session.change_plan(training_compiled=able)
    return bool(session.plan.training_compiled)


def _images_trained_on(session: Session) -> Counter[str]:
    """Return how many images the networks of a run see in training, by name; those in the store already included."""
    config, real, found = session.config, len(session.data.train), Counter[str]()
    seen, judge = config.ipc * session.data.classes * config.windows, config.evaluate.network or config.network
    if config.trains_experts:
        passes = 2 if config.experts.gsam else 1
        found[config.network] += passes * real * config.experts.count * config.expert_epochs
    if "teachers" in config.needs:
        for name in config.teachers.networks or (config.network,):
            found[name] += real * config.teachers.count * config.teachers.training.epochs_run
    if isinstance(config.method, WithoutStudents):
        forwards = config.method.forwards(config.ipc * session.data.classes, session.data.classes)
        found[config.network] += int(config.iterations * forwards / FORWARDS_PER_GRADIENT)
    if config.full.networks:
        found[judge] += real * config.full.networks * config.full.training.epochs
    if probes := config.probes:
        found[judge] += probes * config.watch.probe_epochs * seen
    for name in config.protocols:
        protocol = config.protocol(name)
        found[protocol.network or config.network] += config.trainings(name) * protocol.epochs * seen
    return found


def _try_training(session: Session, network: FlatNetwork) -> None:
    """Take one compiled step of ordinary training, on a few images."""
    few = session.data.train.take(torch.arange(min(_TRIED_IMAGES, len(session.data.train))))
    examples = Examples(few.images, few.labels, session.preprocess)
    start = Fitted.start(network, network.initial(Randomness(0).stream("planning")))
    recipe = TrainingRecipe(epochs=1, batch_size=len(examples))
    for _ in fit(network, start, examples, recipe, session.augment, Randomness(0).child("planning"), compiled=True):
        pass
