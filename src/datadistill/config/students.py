"""Whether what a method does with students fits the rest of a recipe."""

from datadistill.config.full import TeachersConfig
from datadistill.methods.base import Need, Unrolled
from datadistill.networks import canonical_name


def check_students(
    unrolled: Unrolled | None, needs: frozenset[Need], *, ipc: int, network: str, teachers: TeachersConfig
) -> None:
    """Refuse what would fail only when the first student is trained.

    Args:
        unrolled: How far the method differentiates through training.
        needs: What the method needs.
        ipc: Images per class.
        network: Of the students.
        teachers: Of the run.

    Raises:
        ValueError: If images of a class cannot be cut into batches, or students that start as teachers have none.
    """
    if unrolled is None:
        return
    if ipc % unrolled.parts:
        raise ValueError(f"ipc: {ipc} images of a class cannot be cut into {unrolled.parts} batches of equal size")
    if "teachers" not in needs:
        return
    if teachers.networks and canonical_name(network) not in map(canonical_name, teachers.networks):
        raise ValueError(f"teachers.networks: students start as teachers, and none is a '{network}'")
    if teachers.count < unrolled.trainings:
        raise ValueError(
            f"teachers.count is {teachers.count}, and {unrolled.trainings} students of an iteration start as one each"
        )
