"""The report: from numbers to one page."""
