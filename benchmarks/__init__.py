"""Speed and memory, measured against the usual formulation: ``python benchmarks/run.py mtt|dm|dc|…``.

Every variant runs in a process of its own, and the processes take turns, so that whatever else the machine
does meets all of them alike. ``reference.py`` is the baseline, ``ours.py`` what it is compared with.
"""
