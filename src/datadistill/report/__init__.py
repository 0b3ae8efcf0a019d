"""Reports: one self-contained HTML page per run, and the rows of the table a run ends with.

Reads the files of one run directory and nothing else; knows neither methods nor the configuration schema.
What lives here turns records into words, pictures and curves; nothing here computes a result.
"""

from datadistill.report.accuracy import SummaryRow, summary_rows
from datadistill.report.collect import Frame, RunSummary, collect
from datadistill.report.page import write_report

__all__ = ["Frame", "RunSummary", "SummaryRow", "collect", "summary_rows", "write_report"]
