"""The report: one page with the molecules of a run, what was measured of them, and where they came from."""

from molgen.report.content import Estimate, Histogram, Report
from molgen.report.distributions import beside, distributions, spread
from molgen.report.page import write_report

__all__ = ["Estimate", "Histogram", "Report", "beside", "distributions", "spread", "write_report"]
