"""The pages that show runs: one file each, no network, no build."""

from bigclip.reports.comparison import write_comparison
from bigclip.reports.page import write_report

__all__ = ["write_comparison", "write_report"]
