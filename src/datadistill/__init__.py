"""datadistill: a few synthetic images per class on which a network trains almost as well as on the full data set.

The public names are those in ``__all__``. Importing the package does no work; the names are fetched when they
are first used, and none of them needs the dependencies of the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from datadistill.augment import build_augment as build_augment
    from datadistill.config import RunConfig as RunConfig
    from datadistill.config import load_recipe as load_recipe
    from datadistill.config import recipes as recipes
    from datadistill.data import RealData as RealData
    from datadistill.data import fit_preprocess as fit_preprocess
    from datadistill.data import from_arrays as from_arrays
    from datadistill.data import from_dataset as from_dataset
    from datadistill.data import load_dataset as load_dataset
    from datadistill.evaluate.protocol import Protocol as Protocol
    from datadistill.methods import APM as APM
    from datadistill.methods import ATT as ATT
    from datadistill.methods import DATM as DATM
    from datadistill.methods import DC as DC
    from datadistill.methods import DM as DM
    from datadistill.methods import METHODS as METHODS
    from datadistill.methods import MTT as MTT
    from datadistill.methods import BackProp as BackProp
    from datadistill.networks import build_network as build_network
    from datadistill.pipeline import Outcome as Outcome
    from datadistill.pipeline import run as run
    from datadistill.synthetic.artifact import Artifact as Artifact
    from datadistill.synthetic.artifact import SyntheticSet as SyntheticSet
    from datadistill.synthetic.artifact import load_artifact as load_artifact
    from datadistill.synthetic.artifact import save_artifact as save_artifact
    from datadistill.synthetic.texture import Texture as Texture

_HOMES = {
    "Artifact": "synthetic.artifact",
    "METHODS": "methods",
    "APM": "methods",
    "ATT": "methods",
    "BackProp": "methods",
    "DATM": "methods",
    "DC": "methods",
    "DM": "methods",
    "MTT": "methods",
    "Outcome": "pipeline",
    "Protocol": "evaluate.protocol",
    "RealData": "data",
    "RunConfig": "config",
    "SyntheticSet": "synthetic.artifact",
    "Texture": "synthetic.texture",
    "build_augment": "augment",
    "build_network": "networks",
    "fit_preprocess": "data",
    "from_arrays": "data",
    "from_dataset": "data",
    "load_artifact": "synthetic.artifact",
    "load_dataset": "data",
    "load_recipe": "config",
    "recipes": "config",
    "run": "pipeline",
    "save_artifact": "synthetic.artifact",
}

__all__ = ["__version__", *sorted(_HOMES)]  # noqa: PLE0604 (the table above is the list)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'datadistill' has no attribute '{name}'")
    return getattr(import_module(f"datadistill.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return list(__all__)
