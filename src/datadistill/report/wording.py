"""Numbers, times and sizes as a person reads them, and the one sentence a run comes down to."""

import json
import math
from collections.abc import Mapping

from datadistill.evaluate.protocol import Evaluation, Result, fair_baseline
from datadistill.report.collect import RunSummary

_NETWORKS = {
    **{"convnet": "ConvNet", "mlp": "MLP", "lenet": "LeNet", "alexnet": "AlexNet", "alexcifarnet": "AlexCifarNet"},
    **{"resnet": "ResNet", "vgg": "VGG", "vit": "ViT", "convnext": "ConvNeXt"},
}
_SUBJECTS = {
    "synthetic": "Synthetic, last iterate",
    "averaged": "Synthetic, averaged",
    "hard_labels": "Synthetic, hard labels",
    "selected": "Synthetic, selected",
    "untrained": "Before the first step",
    "random": "Random real images",
    "random-labelled": "Random real images, labelled",
    "optimised": "Random real images, the best",
    "average": "Average of each class",
    "kmeans": "k-means centres",
    "knn": "Nearest distilled image",
    "knn-random": "Nearest random real image",
    "knn-average": "Nearest average of a class",
    "knn-kmeans": "Nearest k-means centre",
    "full": "Full training set",
    "peak": "Synthetic, best on the test set",
}
_MANY_CHARACTERS = 400


def percent(fraction: float) -> str:
    """Return a fraction as ``"83.1 %"``."""
    return f"{100 * fraction:.1f} %"


def half_width(result: Result) -> float:
    """Return half the length of the confidence interval, as a fraction; 0 where there is none."""
    return (result.interval[1] - result.interval[0]) / 2


def accuracy(result: Result) -> str:
    """Return mean and half interval as ``"83.1 ± 0.9 %"``; the mean alone where there is no interval."""
    half = half_width(result)
    return f"{100 * result.mean:.1f} ± {100 * half:.1f} %" if half > 0 else percent(result.mean)


def count(number: int) -> str:
    """Return a whole number with its thousands set apart: ``"1,257"``."""
    return f"{number:,}"


def capital(text: str) -> str:
    """Return text with its first letter in upper case, the others as they are."""
    return text[:1].upper() + text[1:]


def plural(number: int, one: str, many: str | None = None) -> str:
    """Return ``"1 image"`` or ``"10 images"``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def quantity(number: float) -> str:
    """Return a measured number with three or four digits: ``"0.0213"``, ``"12,400"``, ``"3.2e-07"``."""
    if not math.isfinite(number):
        return "not finite"
    if number == 0 or 1e-4 <= abs(number) < 1e6:
        return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"
    return f"{number:.2e}"


def duration(seconds: float) -> str:
    """Return a time as ``"4.2 s"``, ``"3 min 12 s"`` or ``"2 h 05 min"``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory(size: int) -> str:
    """Return a number of bytes in MiB or GiB; ``"–"`` for none."""
    if size <= 0:
        return "\N{EN DASH}"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def network(name: str) -> str:
    """Return a network's name as papers print it: ``"ConvNet-3"``."""
    family, _, rest = name.partition("-")
    return _NETWORKS.get(family, family) + (f"-{rest}" if rest else "")


def subject(name: str) -> str:
    """Return what was trained on, in words."""
    return _SUBJECTS.get(name, name.replace("_", " "))


def plain(value: object) -> str:
    """Return a value of a configuration or a card on one line, shortened if it is very long."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, list | tuple) and all(isinstance(item, str | int | float) for item in value):
        text = ", ".join(map(plain, value))
    elif isinstance(value, float):
        text = f"{value:.6g}"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{name} = {plain(item)}" for name, item in value.items())
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _MANY_CHARACTERS else text[: _MANY_CHARACTERS - 1] + "…"


def sentence(summary: RunSummary) -> str:
    """Return what the run came to, in one sentence that is true of whatever is on disk."""
    evaluation = summary.headline
    main = main_result(evaluation) if evaluation is not None else None
    if evaluation is None or main is None:
        return _unfinished(summary)
    name = network(evaluation.network)
    if evaluation.attack is not None and main.poisoning is not None:
        attacked, target = evaluation.attack.names
        _, success, right = main.poisoning.means()
        return (
            f"{plural(main.images, 'synthetic image')} after which {_article(name)} {name} takes {percent(success)} of "
            f"'{attacked}' for '{target}' on {evaluation.dataset}; of the other classes {percent(right)} are right."
        )
    text = (
        f"{plural(main.images, 'synthetic image')} on which {_article(name)} {name} reaches "
        f"{percent(main.mean)} on {evaluation.dataset}"
    )
    random, full = fair_baseline(evaluation.results), evaluation.results.get("full")
    labelled = " with labels of the same kind" if random and random.subject == "random-labelled" else ""
    others = [f"random real images{labelled} give {percent(random.mean)}"] if random else []
    others += [f"the full {count(full.images)} training images {percent(full.mean)}"] if full else []
    text += "; " + ", ".join(others) if others else ""
    return text + (f" (protocol {evaluation.name})." if evaluation.name != "default" else ".")


def main_result(evaluation: Evaluation) -> Result | None:
    """Return the result to quote: of the last iterate, else of the selected one."""
    return evaluation.results.get("synthetic") or evaluation.results.get("selected")


def _unfinished(summary: RunSummary) -> str:
    if summary.artifact is not None:
        card = summary.artifact.card
        images = plural(len(summary.artifact.synthetic), "synthetic image")
        iterations = plural(card.iteration, "iteration")
        return f"{images} distilled from {card.dataset} with {card.method} in {iterations}; not evaluated yet."
    if summary.iteration is not None:
        return f"A distillation that has reached iteration {count(summary.iteration)}; no synthetic set yet."
    return "A run that has been set up; nothing has been distilled yet."


def _article(name: str) -> str:
    acronym = len(name) > 1 and name[:2].isupper()
    return "an" if name[:1].upper() in ("AEFHILMNORSX" if acronym else "AEIO") else "a"
