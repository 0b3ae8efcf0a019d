"""What is measured: sizes, variants, and the times of the originals. Standard library only."""

from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Case:
    """One problem, the same for every variant.

    Attributes:
        benchmark: ``mtt``, ``dm``, ``dc``, ``cclom``, ``apm``, ``dd``, ``experts`` or ``evaluate``.
        name: Of the case.
        ipc: Synthetic images per class; there are ten classes.
        student_steps: Steps of a student.
        network: Of ``dd``, by name; empty for a ConvNet.
        passes: Of ``dd``: how often a student goes through its batches, which are ``student_steps / passes``.
        students: Of ``dd``: students per iteration.
        nearest: Whether the student ends where it is nearest to the target, as in ATT.
        zca: Whether images are whitened.
        canvas: Images side by side on a canvas of textures; 0 for ordinary images.
        depth: Blocks of the ConvNet.
        width: Its channels.
        real_images: Training images.
        test_images: Test images.
        batch_size: Of ordinary training.
        networks: Networks that are evaluated.
        epochs: Passes of each over the synthetic set.
        batch_real: Real images per class that are matched; of ``dd``, all of them in the loss.
        term_real: Real images that the reference of the contrastive term draws in every iteration.
        only: Which of our variants there are: ``compiled``, ``eager``, or, empty, both.
        original_seconds: What the original code takes on two cores (``seconds`` of ``reference``, or
            ``training_seconds`` of one network where it is evaluated); ``None`` where that is not known.
    """

    benchmark: str
    name: str
    ipc: int = 10
    student_steps: int = 10
    network: str = ""
    passes: int = 1
    students: int = 1
    nearest: bool = False
    zca: bool = False
    canvas: int = 0
    depth: int = 3
    width: int = 128
    real_images: int = 5_000
    test_images: int = 10_000
    batch_size: int = 256
    networks: int = 5
    epochs: int = 10
    batch_real: int = 256
    term_real: int = 8_196
    only: str = ""
    original_seconds: float | None = None

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of our variants."""
        names = OURS[self.benchmark]
        return tuple(n for n in names if self.only in ("", "compiled" if n.endswith("compiled") else "eager"))

    @property
    def images(self) -> int:
        """Number of synthetic images."""
        return 10 * self.ipc

    def tiny(self) -> "Case":
        """Return sizes that show no more than that everything runs."""
        small = replace(self, ipc=1, student_steps=2, depth=2, width=8, original_seconds=None)
        if self.network:
            small = replace(small, ipc=2, student_steps=4, passes=2, students=2)
        return replace(
            small, real_images=96, test_images=64, batch_size=32, networks=2, epochs=2, batch_real=8, term_real=64
        )


CASES = {
    "mtt": (
        Case(benchmark="mtt", name="ipc1", ipc=1, student_steps=20, original_seconds=0.87),
        Case(benchmark="mtt", name="ipc1_zca", ipc=1, student_steps=20, zca=True),
        Case(benchmark="mtt", name="ipc1_texture", ipc=1, student_steps=20, canvas=2),
        Case(benchmark="mtt", name="att_ipc1", ipc=1, student_steps=20, nearest=True),
        Case(benchmark="mtt", name="att_ipc10", ipc=10, student_steps=10, nearest=True),
        # All 500 images in every step, as published, but 2 steps and not 30 (MTT) or 50 (ATT): the graph of those
        # takes 43 or 72 GiB. All variants are in memory together, and six of them do not fit into 24 GiB.
        Case(benchmark="mtt", name="ipc50", ipc=50, student_steps=2, only="compiled"),
        Case(benchmark="mtt", name="att_ipc50", ipc=50, student_steps=2, nearest=True, only="compiled"),
        Case(benchmark="mtt", name="ipc10", ipc=10, student_steps=10, original_seconds=7.04),
    ),
    "dm": (Case(benchmark="dm", name="ipc10", original_seconds=1.22),),
    "dc": (Case(benchmark="dc", name="ipc10", original_seconds=3.31),),
    "cclom": (Case(benchmark="cclom", name="ipc10"),),
    "apm": (
        Case(benchmark="apm", name="student_ipc10", original_seconds=1.14),
        Case(benchmark="apm", name="images_ipc10", only="eager", original_seconds=1.36),
    ),
    "dd": (
        Case(benchmark="dd", name="alexcifarnet", network="alexcifarnet+xavier", student_steps=30, passes=3),
        Case(benchmark="dd", name="lenet_8", network="lenet+xavier", student_steps=30, passes=3, students=8),
        Case(benchmark="dd", name="lenet", network="lenet+xavier", student_steps=30, passes=3, original_seconds=0.12),
    ),
    "experts": (Case(benchmark="experts", name="epoch", original_seconds=9.92),),
    "evaluate": (Case(benchmark="evaluate", name="ipc10", original_seconds=1.15),),
}
"""Cases by benchmark; the last one is the headline."""

REFERENCES = ("reference", "reference_same_settings")
"""The baseline: as users of the originals run it, and with the process settings of this package."""

OURS = {
    "mtt": ("stored_compiled", "adjoint_compiled", "adjoint", "stored"),
    "dm": ("ours_compiled", "ours"),
    "dc": ("ours_compiled", "ours"),
    "cclom": ("ours",),
    "apm": ("ours_compiled", "ours"),
    "dd": ("stored_compiled", "adjoint_compiled", "adjoint", "adjoint_sparse", "stored"),
    "experts": ("ours_compiled", "ours"),
    "evaluate": ("ours_compiled", "ours", "ours_side_by_side_compiled"),
}
"""Our variants by benchmark; the fastest of them counts."""

DIFFERENTIATED = ("mtt", "dd")
"""Benchmarks whose gradients are compared with float64."""

FLAT = "adjoint_compiled"
"""Ours whose memory does not grow with the number of student steps."""
