"""Where a graph runs best: what of it a GPU cannot run, and from which batch on the GPU wins.

    python -m benchmarks.devices --bundle models/packs/fraud/bundle --device cuda

Without a GPU only the first is told, from ONNX Runtime's published table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from engine.bundle import Bundle
from engine.device import Device, choose, count_gpus
from engine.runtime import ort
from engine.timing import example_feeds, time_graph
from export.kernels import without_cuda_kernel
from export.placement import placement
from models.packs.registry import pack_folder

_SIZES = (1, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--bundle", type=Path, default=pack_folder("fraud") / "bundle")
    parser.add_argument("--device", choices=("cuda", "tensorrt"), default="cuda")
    given = parser.parse_args()
    bundle = Bundle.load(given.bundle)
    for name, content in (("model", bundle.model), ("reasons", bundle.reasons)):
        missing = without_cuda_kernel(content)
        print(f"{name}.onnx: {len(missing)} nodes without a CUDA kernel", *missing, sep="\n  ")
    if not count_gpus():
        print("no GPU here: nothing to time")
        return
    _place(bundle, Device(given.device))
    _compare(bundle, Device(given.device))


def _place(bundle: Bundle, device: Device) -> None:
    choice = choose(device, ort.get_available_providers(), count_gpus())
    found = placement(bundle.model, choice, example_feeds(bundle.manifest, 64))
    print("nodes that ran:", ", ".join(f"{n} on {each}" for each, n in found.by_provider.items()))
    print(f"of these on the host: {len(found.on_cpu)}", *found.on_cpu, sep="\n  ")
    print(f"copies within the graph: {len(found.copies)}", *found.copies, sep="\n  ")


def _compare(bundle: Bundle, device: Device) -> None:
    (_, on_cpu), (_, on_gpu) = (
        time_graph(bundle, each, batches=_SIZES) for each in (Device.CPU, device)
    )
    print(f"| events | cpu, us an event | {device}, us an event |\n| --- | --- | --- |")
    wins: int | None = None
    for cpu, gpu in zip(on_cpu, on_gpu, strict=True):
        print(f"| {cpu.batch:,} | {cpu.us_per_event:.2f} | {gpu.us_per_event:.2f} |")
        wins = (wins or cpu.batch) if gpu.us_per_event < cpu.us_per_event else None
    print(f"{device} wins from {wins:,} events on" if wins else f"{device} wins nowhere")


if __name__ == "__main__":
    main()
