"""The schema of a run: frozen dataclasses that compose those of the components."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from datadistill.augment import build_augment
from datadistill.config.experts import ExpertsConfig
from datadistill.config.full import FullConfig, TeachersConfig
from datadistill.config.students import check_students
from datadistill.core.errors import ConfigError, UsageError
from datadistill.evaluate.pools import expand, parted
from datadistill.evaluate.protocol import Protocol, named
from datadistill.methods import METHODS
from datadistill.methods.base import Need
from datadistill.networks import canonical_name
from datadistill.runtime.device import Precision
from datadistill.synthetic.initial import Initial
from datadistill.synthetic.texture import Texture


@dataclass(frozen=True, kw_only=True)
class WatchConfig:
    """What is looked at while distilling, every so many iterations.

    Attributes:
        log_every: Metrics are read from the device and checked.
        checkpoint_every: The state is written; a multiple of ``log_every``.
        probe_every: Networks are trained on the images and tested on validation data; 0 for never.
        probe_networks: How many.
        probe_epochs: For how long each.
        frame_every: A picture of the images is kept; absent for about 30 in all.
        variant_every: The set is kept, as ``distill/variants/iteration_NNNNNN/``, and the method's variants beside it
            (``iteration_NNNNNN-averaged/``); a multiple of ``log_every``, 0 for never.
    """

    log_every: int = 10
    checkpoint_every: int = 50
    probe_every: int = 100
    probe_networks: int = 2
    probe_epochs: int = 300
    frame_every: int | None = None
    variant_every: int = 0

    def __post_init__(self) -> None:
        if self.log_every < 1 or self.checkpoint_every < 1 or self.checkpoint_every % self.log_every:
            raise ValueError(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of log_every ({self.log_every})"
            )
        for key, every in (("probe_every", self.probe_every), ("variant_every", self.variant_every)):
            if every % self.log_every:
                raise ValueError(f"{key} ({every}) must be a multiple of log_every ({self.log_every})")
        if min(self.probe_every, self.variant_every) < 0 or self.probe_networks < 1 or self.probe_epochs < 1:
            raise ValueError(
                "probe_every and variant_every must not be negative, probe_networks and probe_epochs at least 1"
            )
        if self.frame_every is not None and self.frame_every < 1:
            raise ValueError(f"frame_every must be at least 1, got {self.frame_every}")

    def kept(self, last: int) -> range:
        """Return the iterations before ``last`` whose set is kept."""
        return range(self.variant_every, last, self.variant_every) if self.variant_every else range(0)


@dataclass(frozen=True, kw_only=True)
class EngineConfig:
    """How the arithmetic is done. Changes speed, memory and the last bits, not what is computed.

    Attributes:
        strategy: ``auto`` decides by memory; the plan records what was decided.
        keep_every: Student weights are kept at every such step and recomputed in between.
        keep_on_host: Whether they are kept in host memory.
        micro_batch: Images differentiated at once within a step; absent for all.
        precision: Of convolutions on CUDA: ``tf32``, or ``float32``, which is slower. On the CPU all is float32.
            ``bf16`` has the student compute in bfloat16, faster where the processor can; its gradient is compared
            with that of float32 before the run starts.
        compiled: ``auto`` compiles student steps, and those of ordinary training, where a compiler is present and
            there is work enough to repay it.
    """

    strategy: Literal["auto", "adjoint", "stored"] = "auto"
    keep_every: int = 1
    keep_on_host: bool = False
    micro_batch: int | None = None
    precision: Precision = "tf32"
    compiled: Literal["auto", "yes", "no"] = "auto"

    def __post_init__(self) -> None:
        if self.keep_every < 1 or (self.micro_batch is not None and self.micro_batch < 1):
            raise ValueError("keep_every and micro_batch must be at least 1")
        if self.strategy == "stored" and (self.keep_every > 1 or self.keep_on_host or self.micro_batch is not None):
            raise ValueError("keep_every, keep_on_host and micro_batch are for strategy 'adjoint'")


@dataclass(frozen=True, kw_only=True)
class Published:
    """What a paper reports for the settings of a recipe. Decides nothing, and no key depends on it.

    Attributes:
        accuracy: Of networks trained on the set, in [0, 1].
        std: Standard deviation, as the paper gives it.
        source: Where it stands, in words, and how it was chosen.
    """

    accuracy: float
    std: float | None = None
    source: str

    def __post_init__(self) -> None:
        if not 0 <= self.accuracy <= 1 or not 0 <= (self.std or 0) <= 1:
            raise ValueError(f"accuracy and std are fractions in [0, 1], got {self.accuracy} and {self.std}")
        if not self.source:
            raise ValueError("source must say where the number stands")


def _check(key: str, build: Callable[[str], object], name: str | None) -> None:
    """Refuse a name that ``build`` cannot use, saying under which key it stands."""
    try:
        if name is not None:
            build(name)
    except UsageError as error:
        raise ConfigError(f"{key}: {error}") from error


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that decides what a run computes.

    Attributes:
        seed: Of the run.
        dataset: Registered name, maybe with options, or a path: see :func:`datadistill.data.load_dataset`.
        validation: Training images held out before anything is trained; selection happens on them. 0 means
            that nothing is selected and the last iterate is the result.
        preprocess: ``normalise``, ``normalise:<constants>`` (a system, or ``measured``), ``zca`` or ``none``.
        network: Student, experts and, by default, evaluation networks. One by import path gets the hash of its source,
            here and in ``evaluate``.
        augment: ``dsa``, ``dsa:<operations>``, ``crop-flip``, ``dc`` or ``none``; elsewhere also ``mixup``, ``cutmix``.
        ipc: Images per class.
        initial: First images: ``real`` or ``noise``.
        iterations: Outer iterations.
        protocols: Evaluation protocols, by name: ``default``, ``upstream``, ``upstream-peak``; with another
            evaluation network ``default@vgg11``, with a pool of them ``default@cross-architecture``, which becomes
            one name each.
        texture: Makes the synthetic images canvases that are seen through random windows; absent for ordinary images.
        groups: Independent groups that the images of every class are divided into, and that are joined at the end;
            ``ipc`` must be a multiple.
        part: Of one group of a divided run: its number from 0, and how many there are. Set by the run itself.
        workers: Processes for experts, groups and evaluation; 1 stays in this one.
        cluster: Where workers are: absent for this machine; ``local`` for a Ray cluster of its own, or the address of
            one (extra ``ray``).
        side_by_side: Networks evaluated at once in one process, and experts trained, with one arithmetic thread each;
            absent for one per core (experts: from four on), and for 1 with several workers or on a GPU.
        threads: Arithmetic threads per process; absent for the cores divided among the workers. Tiny networks
            are faster with one.
        store: Folder of the experts; absent for ``experts`` beside the run directory.
        method: The method; one table ``[method.<name>]``.
        terms: Additions to its objective; tables ``[terms.<name>]``.
        experts: How experts are trained.
        teachers: How teachers are trained, where the method or a term needs them.
        evaluate: How networks are trained and tested, as this recipe wants it; named protocols change some of it.
        full: The full-set baseline.
        watch: What is looked at while distilling.
        engine: How gradients are computed.
        published: The number of the paper, to be shown beside ours; runs that differ in it alone are equal.
    """

    seed: int = 0
    dataset: str
    validation: int
    preprocess: str = "normalise"
    network: str = "convnet-3"
    augment: str = "dsa"
    ipc: int
    initial: Initial = "real"
    iterations: int
    protocols: tuple[str, ...] = ("default",)
    groups: int = 1
    part: tuple[int, int] | None = None
    workers: int = 1
    cluster: str | None = None
    side_by_side: int | None = None
    threads: int | None = None
    store: str | None = None
    method: Any
    terms: dict[str, Any] = field(default_factory=dict)
    texture: Texture | None = None
    experts: ExpertsConfig = field(default_factory=ExpertsConfig)
    teachers: TeachersConfig = field(default_factory=TeachersConfig)
    evaluate: Protocol = field(default_factory=Protocol)
    full: FullConfig = field(default_factory=FullConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    engine: EngineConfig = field(default_factory=EngineConfig)
    published: Published | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        counts = (self.ipc, self.iterations, self.groups, self.workers, self.side_by_side, self.threads)
        if min(count for count in counts if count is not None) < 1 or self.validation < 0:
            raise ValueError(
                "ipc, iterations, groups, workers, side_by_side and threads must be at least 1, validation not negative"
            )
        if self.ipc % self.groups:
            raise ValueError(f"ipc ({self.ipc}) must be a multiple of groups ({self.groups})")
        if self.groups > 1 and self.method.unrolled is not None and self.method.unrolled.ordered:
            raise ValueError(
                f"groups: sets of method '{self.method_name}' have an order of their own and are not joined"
            )
        if self.workers > 1 and (self.side_by_side or 1) > 1:
            raise ValueError("either workers or side_by_side can be above 1, not both")
        if self.texture is not None and self.preprocess.partition(":")[0] == "zca":
            raise ValueError(
                "texture: a canvas cannot be whitened back to pixels, the matrix of 'zca' is for single images; "
                "set preprocess = 'normalise'"
            )
        if self.texture is not None and (self.method.unrolled is None or self.method.unrolled.whole_images):
            raise ValueError(
                f"texture: method '{self.method_name}', as it is set, looks at whole images outside student steps, "
                "and a canvas is none"
            )
        check_students(
            self.method.unrolled, self.method.needs, ipc=self.ipc, network=self.network, teachers=self.teachers
        )
        if self.texture is not None and self.texture.start and self.initial != "real":
            raise ValueError(f"texture.start is for initial = 'real', and it is '{self.initial}'")
        if self.texture is not None and self.terms:
            raise ValueError("texture: terms look at whole images, and a canvas is none")
        if self.initial != "real" and getattr(self.method, "only_recognised", False):
            raise ValueError(
                f"initial is '{self.initial}', and method '{self.method_name}' starts from real images of its own "
                f"choice; set method.{self.method_name}.only_recognised = false"
            )
        needed, trained = self.method.expert_epochs_needed, self.experts.epochs
        if trained is not None and trained < needed:
            raise ValueError(f"experts.epochs is {trained}, the method needs {needed} (latest start plus span)")
        if not self.protocols or len(set(self.protocols)) < len(self.protocols):
            raise ValueError("protocols must name at least one protocol, and none of them twice")
        try:
            object.__setattr__(self, "protocols", expand(self.protocols, self.network, self.evaluate.network))
        except UsageError as error:
            raise ConfigError(f"protocols: {error}") from error
        if self.evaluate.peak:
            raise ValueError("evaluate.peak: 'default' never chooses on the test set; add 'upstream-peak' to protocols")
        if self.evaluate.ordered:
            raise ValueError("evaluate.ordered: 'default' trains in shuffled epochs; add 'as-distilled' to protocols")
        for number, name in enumerate(self.protocols):
            _check(f"protocols[{number}]", self.protocol, name)
            if self.protocol(name).peak and not self.watch.variant_every:
                raise ValueError(
                    f"watch.variant_every is 0, and protocol '{name}' chooses among the sets that it keeps"
                )
            if self.protocol(name).split == "validation" and not self.validation:
                raise ValueError(f"validation is 0, and protocol '{name}' tests on images that are held out for it")
        self._check_networks()
        self._check_augmentations()

    def _check_networks(self) -> None:
        """Refuse unknown names, and pin the source of code of the user's own."""
        for key, network in (("network", self.network), ("evaluate.network", self.evaluate.network)):
            _check(key, canonical_name, network)
        for network in self.teachers.networks:
            _check("teachers.networks", canonical_name, network)
        names = [canonical_name(network) for network in self.teachers.networks]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise ConfigError(f"teachers.networks: {twice} is there twice, by two of its names")
        if ":" in self.network:
            object.__setattr__(self, "network", canonical_name(self.network))
        if ":" in (self.evaluate.network or ""):
            pinned = replace(self.evaluate, network=canonical_name(self.evaluate.network or ""))
            object.__setattr__(self, "evaluate", pinned)

    def _check_augmentations(self) -> None:
        _check("augment", build_augment, self.augment)
        if build_augment(self.augment).mixes:
            raise ConfigError(
                f"augment: '{self.augment}' mixes targets, which a student that is differentiated does not; "
                "mixing is for experts.augment, full.augment and evaluate.augment"
            )
        for key in ("experts", "teachers", "full", "evaluate"):
            _check(f"{key}.augment", build_augment, getattr(self, key).augment)

    @property
    def method_name(self) -> str:
        """Registered name of the method."""
        return next(name for name, entry in METHODS.items() if isinstance(self.method, entry.cls))

    def protocol(self, name: str) -> Protocol:
        """Return a protocol as this run uses it.

        Raises:
            UnknownNameError: If there is none of that name.
        """
        base, network = parted(name)
        protocol = named(base, self.evaluate)
        return protocol if network is None else replace(protocol, network=network)

    def evaluation_networks(self, protocols: Sequence[str]) -> tuple[str, ...]:
        """Return the names of all networks that these protocols train on the distilled sets, each once."""
        return tuple(dict.fromkeys(self.protocol(name).network or self.network for name in protocols))

    @property
    def windows(self) -> int:
        """Images that a network sees of each synthetic image in a step: more than one of a texture with samples."""
        return self.texture.samples if self.texture is not None else 1

    def trainings(self, name: str) -> int:
        """Return how many networks a protocol trains on the distilled sets and on random real images."""
        protocol = self.protocol(name)
        kinds = 1 + len(self.method.variant_names)
        if protocol.peak:
            sets = kinds * (1 + len(self.watch.kept(self.iterations)))
        else:
            sets = kinds + bool(self.validation and self.watch.probe_every)
        return protocol.networks * sets + protocol.baseline_trainings(self.ipc)

    @property
    def probes(self) -> int:
        """Networks that all probes on validation images train."""
        watch = self.watch
        return (
            watch.probe_networks * (self.iterations // watch.probe_every)
            if watch.probe_every and self.validation
            else 0
        )

    @property
    def needs(self) -> frozenset[Need]:
        """What method and terms need to have been trained on real data."""
        return frozenset(self.method.needs).union(*(term.needs for term in self.terms.values()))

    @property
    def trains_experts(self) -> bool:
        """Whether the run needs experts and makes them itself."""
        return "experts" in self.needs and self.experts.imported is None

    @property
    def expert_epochs(self) -> int:
        """Epochs each expert is trained."""
        return self.experts.epochs or int(self.method.expert_epochs_needed)
