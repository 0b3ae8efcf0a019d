"""What is asked of a reader besides where the files are: size, channels, classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datadistill.core.errors import ConfigError, UnknownNameError, nearest
from datadistill.runtime.progress import Reporter, Silent

Resize = Literal["squash", "crop"]
Classes = tuple[str | int, ...]
"""Names of classes, or their places in the list of all classes."""

_LARGEST = 4096


@dataclass(frozen=True, kw_only=True)
class Form:
    """What every image is brought to.

    Attributes:
        size: Height and width; absent for the size the set has, of several the most common one.
        resize: ``squash``: to that size whatever the proportions, as in the field; ``crop``: the shorter side to
            that size, then the centre. Bilinear with antialiasing, both.
        rgb: Whether grey images are repeated in three equal channels.
    """

    size: tuple[int, int] | None = None
    resize: Resize = "squash"
    rgb: bool = False

    def __post_init__(self) -> None:
        if self.size is not None and not all(1 <= side <= _LARGEST for side in self.size):
            raise ConfigError(f"size {self.size[0]}x{self.size[1]}: each side must be between 1 and {_LARGEST}")

    def suffix(self, usual: "Form") -> str:
        """Return what a name needs behind it where this differs from ``usual``: ``-rgb-28``."""
        words = ["rgb"] if self.rgb != usual.rgb else []
        if self.size is not None and self.size != usual.size:
            height, width = self.size
            words.append(str(height) if height == width else f"{height}x{width}")
        words += [self.resize] if self.resize != usual.resize else []
        return "".join(f"-{word}" for word in words)


def parse_form(name: str, tokens: Sequence[str], usual: Form) -> Form:
    """Return ``usual`` with the changes that the options behind a name ask for.

    Args:
        name: The whole name, for messages.
        tokens: ``rgb``, ``squash``, ``crop``, a side (``64``), or height and width (``48x64``).
        usual: The form without options.

    Raises:
        UnknownNameError: If there is no such option; names the nearest.
        ConfigError: If a size is out of range.
    """
    fields: dict[str, Any] = {"size": usual.size, "resize": usual.resize, "rgb": usual.rgb}
    for token in tokens:
        sides = token.split("x")
        if token in ("squash", "crop"):
            fields["resize"] = token
        elif token == "rgb":
            fields["rgb"] = True
        elif len(sides) <= 2 and all(side.isdecimal() and side.isascii() and len(side) <= 6 for side in sides):
            fields["size"] = (int(sides[0]), int(sides[-1]))
        else:
            choices = ("rgb", "squash", "crop", "a size as 64 or 48x64")
            raise UnknownNameError(f"data set '{name}': unknown option '{token}'{nearest(token, choices)}")
    return Form(**fields)


@dataclass(frozen=True, kw_only=True)
class Request:
    """How a data set is wanted.

    Attributes:
        form: What every image is brought to.
        classes: The classes to read, in the order of their labels; absent for all.
        cache: Folder in which decoded images are kept; absent for none.
        reporter: Where the progress is shown.
        columns: Names of the image and of the label column, where the files have such.
    """

    form: Form = field(default_factory=Form)
    classes: Classes | None = None
    cache: Path | None = None
    reporter: Reporter = field(default_factory=Silent)
    columns: tuple[str | None, str | None] = (None, None)


def chosen(names: Sequence[str], wanted: Classes | None, where: str) -> list[int]:
    """Return the places of the wanted classes among ``names``; of all where none are named.

    Args:
        names: All classes.
        wanted: Names, or places from 0.
        where: The data set, for messages.

    Raises:
        UnknownNameError: If there is no such class; names the nearest.
        ConfigError: If a class is named twice, or none is.
    """
    if wanted is None:
        return list(range(len(names)))
    places = {name: place for place, name in enumerate(names)}
    found = []
    for entry in wanted:
        if isinstance(entry, int) and not 0 <= entry < len(names):
            raise UnknownNameError(f"{where}: no class {entry}; there are {len(names)}, counted from 0")
        if isinstance(entry, str) and entry not in places:
            raise UnknownNameError(f"{where}: no class '{entry}'{nearest(entry, list(names)[:200])}")
        found.append(entry if isinstance(entry, int) else places[entry])
    if not found or len(set(found)) < len(found):
        raise ConfigError(f"{where}: classes must name at least one class, and none of them twice")
    return found
