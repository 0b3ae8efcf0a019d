"""Networks from elsewhere: a factory by import path, and the models of torchvision and timm.

``my_pkg.nets:make`` is any callable ``make(shape, classes) -> nn.Module``: a function, or the module class itself. Its
canonical name ends with a hash of its source, ``my_pkg.nets:make@3f2c…``, so that changed code never meets
experts of the code before. ``torchvision:resnet18`` and ``timm:convnext_nano`` need the extra ``vision``.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from datadistill.core.errors import UnknownNameError, UsageError, nearest
from datadistill.networks.layers import Shape

_DIGEST = 12
_INSTALL = "pip install 'datadistill[vision]'"


@dataclass(frozen=True)
class UserFactory:
    """A factory by its import path; found again in every process. Picklable.

    Attributes:
        path: ``package.module:name``.
        digest: Hash of its source; a worker that is started later must find the same.
    """

    path: str
    digest: str

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Return a fresh module, made on the CPU.

        Raises:
            UsageError: If the factory fails, returns something else, or has changed.
        """
        factory = _find_same(self.path, self.digest)
        return _made(self.path, lambda: factory(shape, classes), f"it is called as make({shape}, {classes})")


@dataclass(frozen=True)
class VisionModel:
    """A model of torchvision or timm, with fresh weights. Picklable.

    Attributes:
        library: ``torchvision`` or ``timm``.
        model: What the library calls it.
    """

    library: str
    model: str

    def __call__(self, shape: Shape, classes: int) -> nn.Module:
        """Return a fresh module, made on the CPU.

        Raises:
            UsageError: If it cannot be made for such images.
        """
        name, library = f"{self.library}:{self.model}", _library(self.library)
        if self.library == "timm":
            wanted = {"num_classes": classes, "in_chans": shape[0]}
            return _made(name, lambda: _of_timm(library, self.model, wanted, shape[1:]))
        if shape[0] != 3:
            raise UsageError(f"network '{name}': torchvision's models take 3 channels, the images have {shape[0]}")
        return _made(name, lambda: library.models.get_model(self.model, weights=None, num_classes=classes))


def read_imported(name: str) -> tuple[str, Callable[[Shape, int], nn.Module]]:
    """Return the canonical name and the maker that a name with a colon stands for.

    Raises:
        UnknownNameError: If there is no such module, factory or model; the message names the nearest.
        UsageError: If it cannot be imported, or its source is no longer that of the name's hash.
    """
    origin, _, model = name.partition(":")
    if origin in ("torchvision", "timm"):
        library = _library(origin)
        models = library.list_models() if origin == "timm" else library.models.list_models(module=library.models)
        if model not in models:
            raise UnknownNameError(f"unknown network '{name}'{nearest(model, models, listed=())}")
        return name, VisionModel(origin, model)
    path, at, wanted = name.partition("@")
    digest = wanted if at else _find(path)[1]
    _find_same(path, digest)
    return f"{path}@{digest}", UserFactory(path, digest)


def _of_timm(library: Any, model: str, wanted: dict[str, int], sides: tuple[int, int]) -> Any:
    """Return a model of timm; those that are made for one size of image, transformers, are told it."""
    try:
        return library.create_model(model, **wanted, img_size=sides)
    except TypeError:
        return library.create_model(model, **wanted)


def _made(name: str, make: Callable[[], Any], hint: str = "") -> nn.Module:
    """Return what a factory makes; whatever is wrong with it is one line."""
    try:
        with torch.device("cpu"):  # code of others may look at numbers, which `meta` tensors do not have
            module = make()
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"network '{name}': {line}" + (f"; {hint}" if hint else "")) from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"network '{name}': must return a torch.nn.Module, got {type(module).__name__}")
    return module


def _find_same(path: str, wanted: str) -> Callable[..., Any]:
    """Return a factory if its source is still the one of a hash."""
    factory, digest = _find(path)
    if wanted != digest:
        raise UsageError(f"network '{path}': its source has changed since it was '@{wanted}'; it is '@{digest}' now")
    return factory


@lru_cache(maxsize=64)  # code that has been imported stays as it was; so must its hash
def _find(path: str) -> tuple[Callable[..., Any], str]:
    """Return a factory and the hash of its source."""
    module_name, _, attribute = path.partition(":")
    module = _import(path, module_name)
    factory = getattr(module, attribute, None)
    if not callable(factory):
        near = nearest(attribute, [key for key, value in vars(module).items() if callable(value)])
        raise UnknownNameError(f"network '{path}': '{module_name}' has no factory '{attribute}'{near}")
    return factory, _digest(path, module)


def _import(path: str, module_name: str) -> ModuleType:
    """Import a module, also from the working folder, which commands do not look in by themselves."""
    try:
        with _working_folder():
            return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UsageError(f"network '{path}': importing '{module_name}' needs '{error.name}'") from error
        raise UnknownNameError(f"network '{path}': there is no module '{error.name}'") from error
    except Exception as error:
        line = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"network '{path}': importing '{module_name}' failed: {line}") from error


@contextmanager
def _working_folder() -> Iterator[None]:
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)


def _digest(path: str, module: ModuleType) -> str:
    """Return a hash of a module's source and of what it uses from its own package, or from files beside it."""
    if not getattr(module, "__file__", None):
        raise UsageError(f"network '{path}': '{module.__name__}' has no source file; put the factory into one")
    found = {module.__name__: module}
    waiting = [module]
    while waiting:
        for other in _used(waiting.pop()):
            if other.__name__ not in found and _belong_together(module, other):
                found[other.__name__] = other
                waiting.append(other)
    sources = hashlib.sha256()
    for name in sorted(found):
        sources.update(f"{name}\n".encode() + Path(str(found[name].__file__)).read_bytes())
    return sources.hexdigest()[:_DIGEST]


def _used(module: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules whose names, functions and classes stand in a module."""
    for value in list(vars(module).values()):
        home = value if isinstance(value, ModuleType) else sys.modules.get(str(getattr(value, "__module__", "")))
        if home is not None:
            yield home


def _belong_together(module: ModuleType, other: ModuleType) -> bool:
    """Say whether two modules are of one package, or lie side by side without one."""
    if not getattr(other, "__file__", None):
        return False
    package = module.__name__.partition(".")[0]
    if other.__name__.partition(".")[0] == package:
        return True
    lonely = "." not in module.__name__ and not hasattr(module, "__path__")
    return lonely and Path(str(module.__file__)).parent == Path(str(other.__file__)).parent


def _library(name: str) -> Any:
    """Import torchvision, then timm, which needs it.

    Raises:
        UsageError: If it is not installed, or does not fit this torch.
    """
    try:
        torchvision = _import_torchvision()
        return torchvision if name == "torchvision" else importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"networks of {name} need the extra 'vision': {_INSTALL}") from error
    except RuntimeError as error:
        line = " ".join(str(error).split())
        raise UsageError(f"networks of {name}: it does not fit torch {torch.__version__}: {line}") from error


def _import_torchvision() -> Any:
    """Import torchvision, also beside a torch without CUDA.

    Its wheels are built for CUDA; without, importing them fails because operators that its models never call are not
    registered. They are declared then, and only then: a second declaration would clash with a working one.
    """
    for _ in range(3):
        try:
            return importlib.import_module("torchvision")
        except RuntimeError as error:
            words = str(error).split()
            missing = [word for word in words if word.startswith("torchvision::")]
            if not missing:
                raise
            torch.library.define(missing[0], "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("torchvision")
