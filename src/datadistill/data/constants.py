"""Mean and standard deviation per channel, as the systems of the field have them, by data set and system.

The systems disagree: DD-2018 divides CIFAR-10 by its measured deviation, all others by a smaller one; MTT, ATT and APM
use CIFAR-10's figures for CIFAR-100. ``normalise:<system>`` chooses; the first entry is what ``normalise`` means.
``dc`` stands for DC, DSA, DM and DDI, ``mtt`` for MTT and ATT.
"""

from datadistill.data.base import Constants

_CIFAR10: Constants = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET: Constants = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_MNIST: Constants = ((0.1307,), (0.3081,))

CONSTANTS: dict[str, dict[str, Constants]] = {
    "mnist": {"dc": _MNIST, "dd-2018": _MNIST},
    "fashion-mnist": {"dc": ((0.2861,), (0.3530,))},
    "svhn": {
        "dc": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
        "dd-2018": (
            (0.4379104971885681, 0.44398033618927, 0.4729299545288086),
            (0.19803012907505035, 0.2010156363248825, 0.19703614711761475),
        ),
    },
    "usps": {"dd-2018": ((0.15972736477851868,), (0.25726667046546936,))},
    "cifar10": {
        "mtt": _CIFAR10,
        "dc": _CIFAR10,
        "apm": _CIFAR10,
        "dd-2018": (_CIFAR10[0], (0.247, 0.243, 0.261)),
    },
    "cifar100": {
        "dc": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
        "mtt": _CIFAR10,
        "apm": _CIFAR10,
    },
    "tiny-imagenet": {"mtt": _IMAGENET, "dc": _IMAGENET, "apm": _IMAGENET},
    "imagenet": {"mtt": _IMAGENET, "apm": _IMAGENET},
    "cub200": {
        "dd-2018": (
            (0.47850531339645386, 0.4992702007293701, 0.4022205173969269),
            (0.23210887610912323, 0.2277066558599472, 0.26652416586875916),
        )
    },
    "pascal-voc": {"dd-2018": _IMAGENET},
}
"""By registered name; the subsets of ImageNet share one entry."""
