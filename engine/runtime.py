"""ONNX Runtime, told not to report what it is used for."""

from __future__ import annotations

import os

# Read when the library loads: from 1.29 on it sends usage data unless this is set.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

__all__ = ["ort"]
