"""The plan: everything the machine or a limit decided. Written at the first start, reused on resume.

Otherwise a resumed run could take another path through the arithmetic, and "bit for bit" would be a wish.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from datadistill.runtime.device import Precision


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Decisions about how, not what, a run computes.

    Attributes:
        device: Where it runs.
        threads: Arithmetic threads of each process.
        precision: Of convolutions on CUDA: ``tf32`` or ``float32``; ``bf16``: of student steps anywhere.
        workers: Processes for experts and evaluation.
        side_by_side: Networks trained at once in evaluation, and experts where there are enough, with one arithmetic
            thread each; 1 for one after another with ``threads``; absent until it has been decided.
        data_root: Where data sets were found.
        store: Where experts are kept.
        data_checksum: Of the data the run was started on; absent until they have been read.
        strategy: Unroll strategy; absent until it has been decided.
        keep_every: Student weights are kept at every such step.
        keep_on_host: Whether they are kept in host memory.
        micro_batch: Images differentiated at once within a step.
        compiled: Whether the student step is compiled, or captured on a GPU.
        together: Whether the students of an iteration are trained at once, as one stacked problem.
        training_compiled: Whether the steps of ordinary training are; absent until it has been decided.
        matching_compiled: Whether those that compare real with synthetic batches are; absent until it has been
            decided, and for methods that have none.
        reason: Why the strategy was chosen, in words.
    """

    schema_version: ClassVar[int] = 1
    device: str
    threads: int
    workers: int
    side_by_side: int | None = None
    precision: Precision = "tf32"
    data_root: str
    store: str
    data_checksum: str | None = None
    strategy: Literal["adjoint", "stored"] | None = None
    keep_every: int = 1
    keep_on_host: bool = False
    micro_batch: int | None = None
    compiled: bool = False
    together: bool = False
    training_compiled: bool | None = None
    matching_compiled: bool | None = None
    reason: str = ""
