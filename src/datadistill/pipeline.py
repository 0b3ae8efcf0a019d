"""All stages of a run, one after another: what ``dd.run(...)`` and ``datadistill run`` call."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from datadistill.evaluate.protocol import Evaluation
from datadistill.report import write_report
from datadistill.runtime.records import load_record
from datadistill.runtime.rundir import RunDir
from datadistill.stages import Session, run_distill, run_evaluate, run_experts
from datadistill.synthetic.artifact import Artifact, load_artifact


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves.

    Attributes:
        run: The run directory.
        artifact: The distilled set of the last iteration.
        evaluations: By protocol.
        report: Path of the page.
    """

    run: RunDir
    artifact: Artifact
    evaluations: dict[str, Evaluation]
    report: Path

    @property
    def accuracy(self) -> float:
        """Mean test accuracy of networks trained on the distilled set, in [0, 1], under the first protocol."""
        return next(iter(self.evaluations.values())).results["synthetic"].mean


def run_stages(session: Session) -> Outcome:
    """Run every stage that is not done yet and return what is there at the end."""
    stages: dict[str, Callable[[Session], object]] = {
        "experts": run_experts,
        "distill": run_distill,
        "evaluate": run_evaluate,
    }
    for name, stage in stages.items():
        if not session.run.is_done(name):
            stage(session)
    return finish(session)


def finish(session: Session) -> Outcome:
    """Write the report of a run that has been evaluated and return the outcome."""
    with session.stage("report"):
        page = write_report(session.run)
    evaluations = {path.stem: load_record(Evaluation, path) for path in session.run.evaluations()}
    ordered = {name: evaluations[name] for name in session.config.protocols}
    return Outcome(session.run, load_artifact(session.run.synthetic), ordered, page)
