"""``docs/speed.md``, made from the JSON files that ``benchmarks/run.py --out`` has written."""

from pathlib import Path

from benchmarks import summary
from datadistill.runtime.atomic import read_json

PAGE = Path("docs") / "speed.md"
_TEXT = """# Speed and memory

This page is made by `python benchmarks/reproduce.py --document` from the files in `benchmarks/results/speed`; a test
holds the two together. No number on it is typed in.

```bash
python benchmarks/run.py mtt --data-root DIR            # one iteration of trajectory matching
python benchmarks/run.py mtt --memory --data-root DIR   # its peak of memory with 10 and with 80 student steps
python benchmarks/run.py dm --data-root DIR             # one iteration of distribution matching
python benchmarks/run.py dc --data-root DIR             # one update by gradient matching
python benchmarks/run.py cclom --data-root DIR          # the contrastive term, once
python benchmarks/run.py apm --data-root DIR            # a student, and an update of the images, by APM
python benchmarks/run.py dd --data-root DIR             # one iteration of Dataset Distillation, 1 and 8 students
python benchmarks/run.py experts --data-root DIR        # an epoch of an expert over 5,000 images
python benchmarks/run.py evaluate --data-root DIR       # five networks, ten epochs each, and their tests
```

The *reference* is the formulation of the published codes, written as they are: eager `nn.Module`, a stored graph
through all student steps or over all classes, `DataLoader`. Every variant has a process of its own, and they take
turns. `reference` runs as users run it; `reference_same_settings` with the threads and the allocator of this
package, so that what is left beside it is the formulation. All is float32, with the same batches, epochs and
augmentation. *Kernel* seconds are mostly page faults: the default allocator hands large blocks back at every free.
The distance to float64 is the median over a few gradients.
"""


def page(folder: Path) -> str:
    """Return the page for the files in ``folder``."""
    results = [result for path in sorted(folder.glob("[!.]*.json")) for result in read_json(path)["results"]]
    return "\n".join([_TEXT, *(f"```text\n{summary.table(result).strip()}\n```\n" for result in results)])
