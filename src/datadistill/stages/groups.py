"""A divided run: the images of every class in groups, distilled apart by as many workers as there are, and joined."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from datadistill.config import RunConfig
from datadistill.core.errors import UsageError
from datadistill.data import RealData
from datadistill.runtime.executor import InProcess
from datadistill.runtime.metrics import Row, append_rows, cut_back, last_iteration, read_rows
from datadistill.runtime.plan import Plan
from datadistill.runtime.progress import follow
from datadistill.runtime.rundir import RunDir
from datadistill.stages.session import Session, open_run
from datadistill.synthetic.artifact import Artifact, Card, SyntheticSet, load_artifact, save_artifact
from datadistill.synthetic.pictures import read_grid, save_grid, tidy_columns

_DECIDED = ("data_checksum", "strategy", "keep_every", "keep_on_host", "micro_batch", "compiled", "together", "reason")


@dataclass(frozen=True)
class Group:
    """One group: a run of its own, with the same seed and other images. Picklable.

    Attributes:
        root: Its run directory.
        config: The configuration of the whole run, for this group.
        plan: The plan of the whole run.
        memory_limit: Of the whole run.
        own_data: Data handed over by the caller.
    """

    root: Path
    config: RunConfig
    plan: Plan
    memory_limit: int | None = None
    own_data: RealData | None = None

    def open(self) -> Session:
        """Return the group, opened, or created with what was decided for the whole run."""
        session = open_run(
            self.root,
            self.config,
            resume=True,
            device=self.plan.device,
            data_root=Path(self.plan.data_root),
            memory_limit=self.memory_limit,
            data=self.own_data,
        )
        if session.plan.strategy is None:
            session.change_plan(**{key: getattr(self.plan, key) for key in _DECIDED})
        return session


def group_config(config: RunConfig, plan: Plan, number: int) -> RunConfig:
    """Return the configuration of one group."""
    return replace(
        config,
        ipc=config.ipc // config.groups,
        groups=1,
        part=(number, config.groups),
        workers=1,
        cluster=None,
        threads=plan.threads,
        store=plan.store,
    )


def one_group(session: Session) -> Session:
    """Return a divided run as its first group has it, for what is planned and forecast; nothing of it is written."""
    return replace(session, config=group_config(session.config, session.plan, 0))


def groups_of(session: Session) -> list[Group]:
    """Return the groups of a divided run."""
    config, plan = session.config, session.plan
    return [
        Group(session.run.group(j), group_config(config, plan, j), plan, session.memory_limit, session.own_data)
        for j in range(config.groups)
    ]


def run_groups(session: Session, distil: Callable[[Group], None], stop: Callable[[], bool]) -> bool:
    """Distil the groups that are not done, join their sets, and say whether all are done.

    Args:
        session: The whole run.
        distil: What a worker does with a group; a function of a module.
        stop: Asked after every group whether to leave the rest for a later call.
    """
    groups, total = groups_of(session), session.config.iterations
    waiting = [group for group in groups if not RunDir(group.root).is_done("distill")]
    executor = session.executor

    def iterations() -> int:
        return sum(last_iteration(RunDir(group.root).metrics) for group in groups)

    before = iterations()
    with (
        session.reporter.bar("distill", total * len(groups), before) as bar,
        follow(bar, lambda: iterations() - before, f"{len(groups)} groups"),
    ):
        for position, _ in enumerate(executor.run(distil, waiting), start=1):
            if stop() and position < len(waiting) and isinstance(executor, InProcess):
                return False
    _join(session, [RunDir(group.root) for group in groups])
    return True


def _join(session: Session, parts: list[RunDir]) -> None:
    """Write the sets of the groups as one, their pictures, and the means of their metrics."""
    run = session.run
    cut_back(run.metrics, 0)
    append_rows(run.metrics, _means([read_rows(part.metrics) for part in parts]))
    names = set.intersection(*({path.name for path in part.variants.glob("*")} for part in parts))
    for folder, sources in [
        (run.synthetic, [part.synthetic for part in parts]),
        *((run.variant(name), [part.variant(name) for part in parts]) for name in sorted(names)),
    ]:
        save_artifact(folder, joined([load_artifact(source) for source in sources]))
    _join_frames(run, parts, load_artifact(parts[0].synthetic).card)


def _join_frames(run: RunDir, parts: list[RunDir], card: Card) -> None:
    """Write pictures of the whole set on its way: those of which all groups have one."""
    k, (_, h, w) = len(card.classes), card.image_shape
    for name in sorted(set.intersection(*({path.name for path in part.frames.glob("*.png")} for part in parts))):
        columns, count = tidy_columns(card.ipc, k), card.ipc * k
        shares = [read_grid(part.frames / name, (h, w), columns, count) for part in parts]
        save_grid(run.frames / name, _by_class(shares, k), tidy_columns(card.ipc * len(parts), k))


def joined(parts: list[Artifact]) -> Artifact:
    """Return one artifact of several: rows of every class together, in the order of the parts.

    A learned step size becomes the mean of those of the parts.

    Raises:
        UsageError: If the sets prescribe the order of their rows: there is none for all.
    """
    first, k = parts[0], len(parts[0].card.classes)
    sets = [part.synthetic for part in parts]
    if any(synthetic.order is not None for synthetic in sets):
        raise UsageError(f"groups: a set of '{first.card.method}' is used in an order of its own, and cannot be joined")

    rates = [synthetic.student_lr for synthetic in sets if synthetic.student_lr is not None]
    whole = SyntheticSet(
        _by_class([synthetic.images for synthetic in sets], k),
        _by_class([synthetic.targets for synthetic in sets], k),
        torch.stack(rates).mean(0) if rates else None,
        logits=sets[0].logits,
    )
    made: dict[str, Any] = {"groups": len(parts), "checksums": [part.card.checksum for part in parts]}
    card = replace(
        first.card, ipc=sum(part.card.ipc for part in parts), trained_by={**first.card.trained_by, "joined": made}
    )
    return Artifact(whole, card, first.preprocess)


def _by_class(parts: list[Tensor], classes: int) -> Tensor:
    """Return the rows of all parts, those of every class together."""
    return torch.cat([part.unflatten(0, (classes, -1)) for part in parts], 1).flatten(0, 1)


def _means(each: list[list[Row]]) -> list[Row]:
    """Return the means over the groups of what all of them have written, line by line."""
    found: list[Row] = []
    for lines in zip(*each, strict=True):
        keys = [key for key in lines[0] if key != "iteration" and all(key in line for line in lines)]
        means = {key: sum(line[key] for line in lines) / len(lines) for key in keys}
        found.append({"iteration": lines[0]["iteration"], **means})
    return found
