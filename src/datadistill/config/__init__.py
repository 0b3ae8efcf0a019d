"""One complete, typed, frozen configuration per run, and the recipes: TOML files that hold one each.

A method's dataclass is its own schema; nothing here repeats a default of another room.
"""

from datadistill.config.experts import ExpertsConfig
from datadistill.config.full import FullConfig, TeachersConfig
from datadistill.config.load import apply_settings, from_toml, load_recipe, load_stored, recipes, to_toml
from datadistill.config.schema import (
    EngineConfig,
    Published,
    RunConfig,
    WatchConfig,
)

__all__ = [
    "EngineConfig",
    "ExpertsConfig",
    "FullConfig",
    "Published",
    "RunConfig",
    "TeachersConfig",
    "WatchConfig",
    "apply_settings",
    "from_toml",
    "load_recipe",
    "load_stored",
    "recipes",
    "to_toml",
]
