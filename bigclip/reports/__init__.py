"""The page that shows a run: one file, no network, no build."""

from bigclip.reports.page import write_report

__all__ = ["write_report"]
