"""``python -m datadistill``."""

from datadistill.cli.main import main

main()
