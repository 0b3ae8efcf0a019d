"""A network as a pure function of one flat parameter vector.

Everything above this room differentiates, stores, compares and averages *vectors*: an expert is a matrix
``[e p]``, the distance of two networks is that of two vectors.

Which normalisation layers are allowed:

* Instance and group norm are ``nn.GroupNorm``, layer norm is
  :class:`~datadistill.networks.layers.LayerNorm`; exact under every transform.
* Batch norm is :class:`~datadistill.networks.layers.BatchNorm`. In training it uses the statistics of the
  batch; at evaluation the statistics are an argument. There are no running averages: who wants some
  averages the vectors that :meth:`FlatNetwork.with_statistics` returns.
* Torch's own batch, instance and layer norm, which are silently wrong when differentiated through
  ``vmap(grad(loss))``, are replaced by these where that is exact, see :mod:`~datadistill.networks.adapt`.
* What cannot be replaced is refused, and so are layers with buffers, which are not functions of their inputs, and
  layers that draw random numbers, which make a recomputed student silently wrong.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from datadistill.core.arrays import Images, Logits, Params, Statistics
from datadistill.core.errors import UsageError
from datadistill.networks.adapt import adapted
from datadistill.networks.checks import refuse_impure
from datadistill.networks.layers import BatchNorm
from datadistill.runtime.compiler import one_at_a_time


class FlatNetwork:
    """A network without state: ``network(params, images)`` are the logits.

    The object holds only the *structure* of a module, no numbers; it is cheap to make, to pickle (if the
    factory can be) and works on any device and in any dtype: those of ``params`` and ``images``. Calls on
    one object from several threads at once are not supported; make one object per thread.

    Attributes:
        original: Itself, or what it is the twin of: where things that are made once per network are kept.

    Args:
        factory: Makes a fresh module, initialised as its author wants. Called once here, on torch's
            ``meta`` device, and once per :meth:`initial`.
        name: What messages, cards and content keys call it.

    Raises:
        UsageError: If the module contains a layer that is not a pure function of its parameters.

    Example:
        >>> network = FlatNetwork(lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), name="linear")
        >>> network.parameter_count
        15
    """

    def __init__(self, factory: Callable[[], nn.Module], *, name: str) -> None:
        self.factory = factory
        self.name = name
        self.original = self
        with one_at_a_time, torch.random.fork_rng(devices=[]), torch.device("meta"):
            module = adapted(factory()).train()
        refuse_impure(module, name)
        parameters = list(module.parameters())
        self._shapes = tuple(tuple(parameter.shape) for parameter in parameters)
        self._sizes = [parameter.numel() for parameter in parameters]
        self._norms = [layer for layer in module.modules() if isinstance(layer, BatchNorm)]
        self._channels = [layer.channels for layer in self._norms for _ in range(2)]
        self._slots = _empty_slots(module, parameters)
        self._module = module

    def twin(self) -> "FlatNetwork":
        """Return the same network for use by another thread; its ``original`` is the one it was made from."""
        other = FlatNetwork(self.factory, name=self.name)
        other.original = self.original
        return other

    @property
    def parameter_count(self) -> int:
        """Length p of the parameter vector."""
        return sum(self._sizes)

    @property
    def statistics_count(self) -> int:
        """Length s of the statistics vector; 0 without batch norm."""
        return sum(self._channels)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameter tensors, in the order in which they lie in the vector."""
        return self._shapes

    def __call__(
        self, params: Params | Sequence[Tensor], images: Images, statistics: Statistics | None = None
    ) -> Logits:
        """Return the logits, differentiable to any order in both arguments.

        Args:
            params: The parameter vector, whose dtype decides; or what :meth:`tensors` makes of it, where only some of
                them are differentiated.
            images: A batch of the same dtype.
            statistics: What batch-norm layers normalise by (evaluation); None: by this batch (training).
        """
        return self._run(self._module, params, images, statistics)

    def features(self, params: Params, images: Images, statistics: Statistics | None = None) -> Float[Tensor, "n d"]:
        """Return what the last linear layer sees, differentiable to any order in both arguments.

        Args:
            params: The parameter vector; its dtype decides.
            images: A batch of the same dtype.
            statistics: As for the logits.

        Raises:
            UsageError: If the module has no method ``features(images)``. Every registered network has.
        """
        if not callable(getattr(type(self._module), "features", None)):
            raise UsageError(f"network '{self.name}' has no features: its module needs a method features(images)")
        return self._run(self._module.features, params, images, statistics)  # type: ignore[arg-type]

    def with_statistics(self, params: Params, images: Images) -> tuple[Logits, Statistics]:
        """Return the logits of training mode and the batch's statistics of every batch-norm layer.

        The statistics are mean and unbiased variance per layer, in the order of the layers, and carry
        gradients. Fits ``torch.func.grad(…, has_aux=True)``.
        """
        seen: list[Tensor] = []
        logits = self._run(self._module, params, images, None, seen)
        return logits, torch.cat(seen) if seen else params.new_empty(0)

    def initial(self, generator: torch.Generator) -> Params:
        """Return freshly initialised parameters, float32 on the CPU.

        The module's own initialisation draws from the global generator; that one is seeded from
        ``generator`` for the time of the call and put back afterwards.

        Raises:
            UsageError: If the factory gives one module again and again, whose parameters this network has taken out.
        """
        seed = int(torch.randint(2**63 - 1, (), generator=generator, device="cpu"))
        with one_at_a_time, torch.random.fork_rng(devices=[]), torch.device("cpu"):
            torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed GPUs as well
            module = self.factory()
        parameters = list(module.parameters())
        if tuple(tuple(parameter.shape) for parameter in parameters) != self._shapes:
            raise UsageError(f"network '{self.name}': its factory must make a fresh module in every call")
        return torch.cat([parameter.detach().flatten() for parameter in parameters]).float()

    def initial_statistics(self) -> Statistics:
        """Return zero means and unit variances, float32 on the CPU."""
        values = [float(i % 2) for i in range(len(self._channels))]
        counts = torch.tensor(self._channels, dtype=torch.int64, device="cpu")
        return torch.tensor(values, dtype=torch.float32, device="cpu").repeat_interleave(counts)

    def tensors(self, params: Params) -> list[Tensor]:
        """Return the parameter tensors as views of the vector.

        One ``split`` for all: its backward is one ``cat``, where a slice per tensor would allocate and add up
        a zero vector of full length for each.
        """
        pieces = params.split(self._sizes)
        return [piece.view(shape) for piece, shape in zip(pieces, self._shapes, strict=True)]

    def _run(
        self,
        function: Callable[[Tensor], Tensor],
        params: Tensor | Sequence[Tensor],
        images: Tensor,
        statistics: Tensor | None,
        seen: list[Tensor] | None = None,
    ) -> Tensor:
        """Return a function of the module's; ``seen``, if given, collects the moments of every batch norm.

        The module borrows its tensors for the length of one forward pass. ``torch.func.functional_call``
        does the same at four times the cost: 100 µs for a ConvNet-3 that takes 200 to 800 on tiny images.
        """
        try:
            tensors = self.tensors(params) if isinstance(params, Tensor) else params
            for layer, number, key in self._slots:
                layer.__dict__[key] = tensors[number]
            if statistics is not None:
                moments = statistics.split(self._channels)
                for i, norm in enumerate(self._norms):
                    norm.given = (moments[2 * i], moments[2 * i + 1])
            for norm in self._norms:
                norm.recording = seen is not None
            result = function(images)
            if seen is not None:
                seen.extend(moment for norm in self._norms for moment in norm.seen or ())
            return result
        finally:
            for layer, _, key in self._slots:
                layer.__dict__.pop(key, None)
            for norm in self._norms:
                norm.given, norm.seen, norm.recording = None, None, False

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(FlatNetwork, name=self.name), (self.factory,)

    def __repr__(self) -> str:
        return f"FlatNetwork({self.name!r}, {self.parameter_count:,} parameters)"


def _empty_slots(module: nn.Module, parameters: list[nn.Parameter]) -> list[tuple[nn.Module, int, str]]:
    """Take the parameters out of the module; return where each has to be put, and its number.

    A tensor placed in a layer's ``__dict__`` is found before torch's look-up of parameters, and is a plain
    view: nothing is wrapped or registered per call. A shared parameter has several places.
    """
    numbers = {id(parameter): i for i, parameter in enumerate(parameters)}
    slots = []
    for layer in module.modules():
        for key, parameter in list(layer._parameters.items()):
            if parameter is not None:
                del layer._parameters[key]
                slots.append((layer, numbers[id(parameter)], key))
    return slots
