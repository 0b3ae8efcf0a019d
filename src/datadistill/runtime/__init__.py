"""The machine and the disk: devices, plans, executors, run directories, records, atomic files.

What lives here knows files, processes and clocks, and nothing of data sets, networks or methods.
"""
