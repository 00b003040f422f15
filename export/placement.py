"""Where ONNX Runtime ran the nodes of a graph: what a device's table promises, seen happening."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.device import CPU, Choice
from engine.runtime import ort


@dataclass(frozen=True, slots=True)
class Placement:
    """How many nodes ran on each provider, and which of them kept a GPU waiting."""

    by_provider: Mapping[str, int]
    #: The nodes that ran on the CPU although a GPU was asked for, each with its operator.
    on_cpu: tuple[str, ...]
    #: The copies between host and GPU in the middle of the graph.
    copies: tuple[str, ...]


def placement(content: bytes, choice: Choice, feeds: Mapping[str, NDArray[Any]]) -> Placement:
    """Run a graph once and return where its nodes ran, as ONNX Runtime's profile has it.

    Args:
        content: the serialized ONNX model.
        choice: the providers to run it on.
        feeds: an array for each input. More than the graph has inputs for is ignored.
    """
    with tempfile.TemporaryDirectory() as directory:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(directory) / "profile")
        if choice.on_gpu:
            ort.preload_dlls()
        session = ort.InferenceSession(content, options, providers=list(choice.providers))
        session.run(None, {each.name: feeds[each.name] for each in session.get_inputs()})
        profile = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    ran = {
        each["name"].removesuffix("_kernel_time"): each["args"]
        for each in profile
        if each.get("cat") == "Node" and "provider" in each["args"]
    }
    return Placement(
        by_provider=Counter(each["provider"] for each in ran.values()),
        on_cpu=tuple(
            f"{name}: {each['op_name']}"
            for name, each in ran.items()
            if choice.on_gpu and each["provider"] == CPU
        ),
        copies=tuple(name for name, each in ran.items() if each["op_name"].startswith("Memcpy")),
    )
