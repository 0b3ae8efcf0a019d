"""Stage ``distill``: run the method, watch it, write the artifact."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from datadistill.core.errors import NumericalError
from datadistill.core.randomness import Randomness
from datadistill.core.structure import unstructure
from datadistill.distill import Observer, Progress, distill
from datadistill.evaluate.attack import attack_of
from datadistill.evaluate.run import real_examples
from datadistill.methods import METHODS, Problem
from datadistill.methods.classwise import ClassMatching
from datadistill.runtime.atomic import content_key
from datadistill.runtime.executor import InProcess
from datadistill.runtime.metrics import append_rows, cut_back
from datadistill.runtime.records import ExpertsUsed, TeachersUsed, load_record
from datadistill.stages.experts import open_experts
from datadistill.stages.groups import Group, one_group, run_groups
from datadistill.stages.observers import Checkpoint, Frames, Log, Probe, Variants, read_checkpoint
from datadistill.stages.planning import decide, matching_compiled
from datadistill.stages.session import Session
from datadistill.stages.starts import settle_start
from datadistill.stages.teachers import open_teachers, source_of
from datadistill.stages.training_plan import evaluation_executor, training_compiled
from datadistill.synthetic.artifact import Artifact, Card, SyntheticSet, save_artifact
from datadistill.synthetic.initial import initial_set
from datadistill.synthetic.pictures import tidy_columns

_FRAMES = 30


def run_distill(session: Session, stop: Callable[[], bool] = lambda: False) -> None:
    """Distil, from the checkpoint where there is one, and write the artifact and the selected variant.

    Args:
        session: The run.
        stop: Asked wherever metrics have been read whether to end there, with a checkpoint and the artifact of that
            iteration. The stage is then ``stopped``; a later call goes on, and ends in the same files as a run in one
            go.

    Raises:
        NumericalError: If the run left the rails; the last good checkpoint stays on disk.
        CorruptFileError: If the checkpoint or an expert is damaged.
        RunError: If what the method needs has not been trained.
    """
    if session.config.groups > 1:
        with session.stage("distill") as ending:
            if not run_groups(session, _distill_group, stop):
                ending.state = "stopped"
        return
    finished = session.run.is_done("distill")
    with session.stage("distill") as ending:
        config, run = session.config, session.run
        problem = make_problem(session)
        probe = make_probe(session)
        path = run.checkpoint / "state.safetensors"
        checkpoint = Checkpoint(path, config.watch.checkpoint_every, probe, _owner(session))
        resume = _take_up(checkpoint, session.device)
        begun = checkpoint.written
        cut_back(run.metrics, begun)
        frames = _frames(session)
        frames.draw(0, problem.initial_images)

        def end_here(progress: Progress) -> None:
            if progress.metrics and progress.iteration < config.iterations and stop():
                checkpoint.write(progress)
                ending.state = "stopped"

        def ends(done: int) -> bool:
            if 0 < done == begun and stop():  # nothing has been done in this call
                ending.state = "stopped"
            return ending.state == "stopped"

        with session.reporter.bar("distill", config.iterations, begun) as bar, ExitStack() as hands:
            observers: list[Observer] = [Log(run.metrics, bar), frames, *([probe] if probe else [])]
            observers += [_variants(session)] if config.watch.variant_every else []
            observers += [checkpoint, end_here]
            try:
                end = distill(
                    config.method,
                    hands.enter_context(_shared(session, problem)),
                    iterations=config.iterations,
                    rng=_stream(session),
                    observers=observers,
                    read_every=config.watch.log_every,
                    resume=resume,
                    stop=ends,
                )
            except NumericalError as error:
                append_rows(run.metrics, error.rows)  # so that the curve shows what happened
                raise
        if ending.state == "done":
            frames.draw(config.iterations, end.state.images)
        if not finished and end.iteration != _judged(session):
            for stage in ("evaluate", "report"):  # what was judged after an early stop is another set
                run.update_stage(stage, state="pending", seconds=0.0)
        _save(session, end, probe)


def _distill_group(group: Group) -> None:
    """Distil one group of a divided run, in whatever process."""
    session = group.open()
    if not session.run.is_done("distill"):
        run_distill(session)


@contextmanager
def _shared(session: Session, problem: Problem) -> Iterator[Problem]:
    """Yield the problem, with workers where an iteration has several independent trainings."""
    unrolled, workers = session.config.method.unrolled, session.plan.workers
    if unrolled is None or min(unrolled.trainings, workers) < 2:
        yield problem
        return
    with session.executor.crew(replace(problem, terms={})) as spread:
        yield replace(problem, spread=spread)


def _stream(session: Session) -> Randomness:
    """Return what the iterations of a run draw from; those of another group draw something else."""
    rng, part = session.rng.child("distill"), session.config.part
    return rng if part is None else rng.child("group", part[0])


def _judged(session: Session) -> int | None:
    """Return the iteration of the artifact that is there from an earlier stop."""
    card = session.run.synthetic / "card.json"
    return load_record(Card, card).iteration if card.exists() else None


def _save(session: Session, end: Progress, probe: Probe | None) -> None:
    """Write the artifact, the other sets of the method, and the set that did best on validation images."""
    run, last = session.run, end.export()
    save_artifact(run.synthetic, _artifact(session, last, end.iteration))
    for name, synthetic in end.variants().items():
        save_artifact(run.variant(name), _artifact(session, synthetic, end.iteration))
    if probe is not None and probe.best:
        best: dict[str, Any] = probe.best
        selected = _artifact(session, replace(last, **best), probe.iteration)
        save_artifact(run.variant("selected"), selected)


def _frames(session: Session) -> Frames:
    config = session.config
    every = config.watch.frame_every or max(1, config.iterations // _FRAMES)
    return Frames(session.run.frames, every, tidy_columns(config.ipc, session.data.classes), session.preprocess)


def _owner(session: Session) -> str:
    """Return the key of what a checkpoint belongs to: the configuration as it was written down, and the data."""
    return content_key([session.run.config.read_text(encoding="utf-8"), session.plan.data_checksum])


def _take_up(checkpoint: Checkpoint, device: torch.device) -> tuple[int, dict[str, Tensor]] | None:
    """Return where the checkpoint on disk goes on, and restore what its probe remembers; none where there is none."""
    if not checkpoint.path.exists():
        return None
    checkpoint.written, state, remembered = read_checkpoint(checkpoint.path, checkpoint.owner)
    if checkpoint.probe is not None and remembered:
        checkpoint.probe.restore(remembered)
    return checkpoint.written, {name: tensor.to(device) for name, tensor in state.items()}


def plan_distill(session: Session) -> None:
    """Decide how gradients are computed, before hours go into experts.

    Raises:
        UsageError: If the run cannot fit into the memory limit.
    """
    if session.config.method.unrolled:
        config = session.config
        one = one_group(session) if config.groups > 1 else session
        decide(one, bare_problem(one))
        session.plan = one.plan


def make_problem(session: Session) -> Problem:
    """Return what the method works on, with the experts and the engine of the plan where it needs them."""
    problem, method = bare_problem(session), session.config.method
    needs = session.config.needs
    if "experts" in needs:
        problem = replace(problem, experts=open_experts(session))
    if "teachers" in needs:
        problem = replace(problem, teachers=open_teachers(session), source=source_of(session))
    if method.unrolled:
        problem = replace(problem, unroll=decide(session, problem))
    if isinstance(method, ClassMatching):
        problem = replace(problem, compiled=matching_compiled(session, problem))
    elif not method.unrolled:  # what it compiles is ordinary training
        problem = replace(problem, compiled=training_compiled(session))
    rng = session.rng.child("distill", "terms")
    terms = {name: term.prepare(problem, rng.child(name)) for name, term in session.config.terms.items()}
    return replace(problem, terms=terms)


def bare_problem(session: Session) -> Problem:
    """Return the data, the network and the first images of a run."""
    part, parts = session.config.part or (0, 1)
    images, targets = initial_set(
        session.config.initial,
        session.data,
        session.preprocess,
        ipc=session.config.ipc * parts,
        rng=session.rng.child("distill"),
        texture=session.config.texture,
    )
    if parts > 1:  # every group its share of the images that the whole would start from
        images, targets = (
            tensor.unflatten(0, (session.data.classes, parts, -1))[:, part].flatten(0, 1)
            for tensor in (images, targets)
        )
    return Problem(
        data=session.data,
        preprocess=session.preprocess,
        network=session.network,
        augment=session.augment,
        initial_images=images,
        initial_targets=targets,
        texture=session.config.texture,
        iterations=session.config.iterations,
    )


def make_probe(session: Session) -> Probe | None:
    """Return the probe on validation data; none without validation images or when switched off."""
    config, watch = session.config, session.config.watch
    if not watch.probe_every or not len(session.data.validation):
        return None
    first = config.protocol(config.protocols[0])  # in the order of the set where it is judged so, else in epochs
    protocol = first if first.ordered else replace(config.evaluate, epochs=watch.probe_epochs)
    network = session.build_network(protocol.network or config.network)
    card, validation = _card(session, 0), real_examples(session.data, session.preprocess, "validation")
    protocol, starts, _ = settle_start(session, replace(protocol, networks=watch.probe_networks), network, card)
    attack = attack_of(card)
    return Probe(
        every=watch.probe_every,
        network=network,
        protocol=protocol,
        augment=protocol.augment or config.augment,
        starts=starts,
        validation=validation if attack is None else attack.relabelled(validation),
        rng=session.rng.child("probe"),
        path=session.run.metrics,
        executor=evaluation_executor(session) if config.workers == 1 else InProcess(),  # processes take long to start
        compiled=training_compiled(session),
        texture=config.texture,
    )


def _variants(session: Session) -> Variants:
    def save(iteration: int, synthetic: SyntheticSet, variant: str) -> None:
        save_artifact(session.run.kept(iteration, variant), _artifact(session, synthetic, iteration))

    return Variants(session.config.watch.variant_every, save)


def _artifact(session: Session, synthetic: SyntheticSet, iteration: int) -> Artifact:
    card = replace(_card(session, iteration), label_kind=synthetic.label_kind)
    return Artifact(synthetic, card, session.preprocess)


def _card(session: Session, iteration: int) -> Card:
    method = session.config.method_name
    paper, fields = METHODS[method].paper, unstructure(session.config.method)
    return make_card(session, iteration=iteration, method=method, paper=paper, hyper_parameters=fields)


def make_card(
    session: Session, *, iteration: int, method: str, paper: str = "", hyper_parameters: dict[str, Any] | None = None
) -> Card:
    """Return the card of a set that belongs to this run."""
    config, data = session.config, session.data.card
    trained_by: dict[str, Any] = {}
    if session.run.experts.exists():
        used = load_record(ExpertsUsed, session.run.experts)
        trained_by = {"experts": used.content_key, "count": len(used.checksums)}
    if session.run.teachers.exists():
        pools = load_record(TeachersUsed, session.run.teachers).pools
        trained_by["teachers"] = {name: pool.content_key for name, pool in pools.items()}
    return Card(
        dataset=data.name,
        classes=data.classes,
        shape=data.shape,
        ipc=config.ipc,
        texture=config.texture,
        preprocess=session.preprocess.description,
        network=session.network.name,
        augment=session.augment.description,
        method=method,
        paper=paper,
        iteration=iteration,
        seed=config.seed,
        hyper_parameters=hyper_parameters or {},
        trained_by=trained_by,
        data_checksum=data.checksum,
        data_source=data.source,
        data_licence=data.licence,
        data_split=data.split,
    )
