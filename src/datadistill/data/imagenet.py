"""ImageNet, whole or one of the named subsets, from a folder ``train/<wnid>/`` and ``val/<wnid>/``.

The subsets take all training and validation images of their classes from ImageNet itself. Where only a folder of their
own is there, as fast.ai's ``imagenette2``, that is read, and the card says so: its images are fewer and split
otherwise, and its accuracies are not comparable with published ones.
"""

from functools import partial
from pathlib import Path

from datadistill.core.errors import ConfigError, DataError, DataNotFoundError
from datadistill.data.base import DatasetEntry, RealData
from datadistill.data.constants import CONSTANTS
from datadistill.data.image_folder import About, Listing, list_folder, read_listing
from datadistill.data.imagenet_classes import CLASSES, SUBSETS
from datadistill.data.request import Form, Request

IMAGENET_FOLDERS = ("imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC")
_ADDRESS = "https://image-net.org"
_NAMES = dict(CLASSES.values())


def imagenet_entries() -> dict[str, DatasetEntry]:
    """Return the registry entries of ImageNet and its subsets."""
    where = f"{', '.join(IMAGENET_FOLDERS)} with train/<wnid>/ and val/<wnid>/"
    entries = {
        name: DatasetEntry(
            partial(_read, name),
            f"{', '.join(CLASSES[number][1] for number in numbers[:3])} … : 10 classes of ImageNet at 128x128",
            f"{where}, else {name}*/ with the same",
            locate=partial(_find, name),
            form=Form(size=(128, 128), rgb=True),
        )
        for name, numbers in SUBSETS.items()
    }
    whole = DatasetEntry(
        partial(_read, "imagenet"),
        "1,281,167 + 50,000 photographs at 64x64, 1,000 classes",
        where,
        locate=partial(_find, "imagenet"),
        form=Form(size=(64, 64), rgb=True),
    )
    return {**entries, "imagenet": whole}


def _find(name: str, root: Path) -> Path:
    """Return the folder to read: of ImageNet, or of the subset alone."""
    own = sorted(root.glob(f"{name}*")) if name in SUBSETS else []
    places = [*(root / folder for folder in IMAGENET_FOLDERS), *own]
    wanted = {CLASSES[number][0] for number in SUBSETS.get(name, ())}
    for folder in places:
        if all((folder / part / wnid).is_dir() for part in ("train", "val") for wnid in wanted or {""}):
            return folder
    shown = [*places[: len(IMAGENET_FOLDERS)], *(own or ([root / f"{name}*"] if name in SUBSETS else []))]
    raise DataNotFoundError(
        f"{name}: no folder with train/<wnid>/ and val/<wnid>/ for {'its' if wanted else 'all'} classes; "
        f"looked in {', '.join(map(str, shown))}; get ImageNet from {_ADDRESS} and sort val into folders like train"
    )


def _read(name: str, root: Path, request: Request) -> RealData:
    folder = _find(name, root)
    wanted: tuple[str | int, ...] | None = request.classes
    if name in SUBSETS:
        if wanted is not None:
            raise ConfigError(f"{name}: is a list of classes already; choose classes of 'imagenet'")
        wanted = tuple(CLASSES[number][0] for number in SUBSETS[name])
    listing = list_folder(folder, wanted)
    if name == "imagenet" and wanted is None and len(listing.classes) != 1000:
        raise DataError(f"{folder / 'train'}: {len(listing.classes)} classes instead of ImageNet's 1,000")
    listing = Listing(
        root=folder,
        classes=tuple(_NAMES.get(wnid, wnid) for wnid in listing.classes),
        train=listing.train,
        test=listing.test,
        split=f"{listing.split}{_whose(name, folder, root)}",
    )
    about = About(
        name=f"{name}{request.form.suffix(Form(rgb=True))}",
        source=f"{folder}; {_ADDRESS}",
        licence="ImageNet's terms: non-commercial research and education",
        constants=CONSTANTS["imagenet"],
    )
    return read_listing(listing, about, request)


def _whose(name: str, folder: Path, root: Path) -> str:
    if folder in [root / place for place in IMAGENET_FOLDERS]:
        return ", ImageNet's own"
    return f" of {folder.name}, not ImageNet's own split of {name}"
