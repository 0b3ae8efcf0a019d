"""A data set of one's own, described in a TOML file: a list of classes, a size, names of columns.

::

    dataset = "imagenet"                 # a registered name, a path beside this file, or hub:<name>
    classes = ["n02123045", 282, 283]    # folder or class names, or places from 0; their order defines the labels
    size = 64                            # or [48, 64], height and width
    resize = "crop"                      # or "squash"
"""

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from datadistill.core.errors import ConfigError
from datadistill.core.structure import structure
from datadistill.data.request import Classes, Form, Request, Resize


@dataclass(frozen=True, kw_only=True)
class Description:
    """What such a file may say.

    Attributes:
        dataset: A registered name, a path (from the file's folder, from here, or below the data root), ``hub:<name>``.
        name: On cards and in messages; absent for the name of the file.
        classes: The classes to read, in the order of their labels; absent for all.
        size: One side, or height and width; absent for the size the set has.
        resize: ``squash`` or ``crop``.
        rgb: Whether grey images are repeated in three channels.
        image: Column of the images, in parquet files and sets of the Hub; absent to find it.
        label: Column of the labels; absent to find it.
    """

    dataset: str
    name: str | None = None
    classes: tuple[str | int, ...] | None = None
    size: int | tuple[int, int] | None = None
    resize: Resize | None = None
    rgb: bool = False
    image: str | None = None
    label: str | None = None

    def request(self, request: Request, usual: Form) -> Request:
        """Return ``request`` with what is described here; ``usual`` is the form where it says nothing."""
        size = (self.size, self.size) if isinstance(self.size, int) else self.size
        form = Form(size=size or usual.size, resize=self.resize or usual.resize, rgb=self.rgb or usual.rgb)
        classes: Classes | None = self.classes
        return replace(request, form=form, classes=classes, columns=(self.image, self.label))


def read_description(path: Path) -> Description:
    """Return what a TOML file says.

    Raises:
        ConfigError: If it cannot be read, a key is unknown (names the nearest) or a value is wrong.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from error
    described = structure(Description, content, source=str(path))
    if described.dataset.endswith(".toml"):
        raise ConfigError(f"{path}: dataset: a description cannot lead to another one")
    return described
