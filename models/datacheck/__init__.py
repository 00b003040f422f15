"""What would hurt in a file of events, found before hours are spent. Needs no PyTorch."""

from models.datacheck.check import Report, check
from models.datacheck.findings import Finding, Part, Severity

__all__ = ["Finding", "Part", "Report", "Severity", "check"]
