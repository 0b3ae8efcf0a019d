"""A run that starts from a synthetic set made elsewhere: nothing is distilled, everything else works."""

from pathlib import Path

from datadistill.interop import import_set
from datadistill.stages.distill import make_card
from datadistill.stages.session import Session
from datadistill.synthetic.artifact import Artifact, save_artifact


def run_import(session: Session, path: Path) -> None:
    """Write the set in ``path`` as the artifact of a run and mark its distillation as done.

    Raises:
        ArtifactError: If the file cannot be read, or does not fit the data.
    """
    with session.stage("distill"):
        data = session.data.card
        synthetic = import_set(path, session.preprocess, data.shape, len(data.classes))
        card = make_card(session, iteration=0, method=f"imported from {path.name}")
        save_artifact(session.run.synthetic, Artifact(synthetic, card, session.preprocess))
    session.run.update_stage("experts", state="done")
