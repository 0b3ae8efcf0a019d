"""Entry point: ``python benchmarks/study.py terms|models|architectures|epoch|source …``; see ``--help``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    root = Path(__file__).resolve().parents[1]
    sys.path[:1] = [str(root), str(root / "src")]  # this checkout, whatever is installed
    from benchmarks.studies import main

    sys.exit(main())
