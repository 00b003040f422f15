"""Fuzz what reads bytes from outside, guided by coverage (Atheris, libFuzzer).

    python -m tests.fuzz events --seconds 600
    python -m tests.fuzz labels --seconds 600
    python -m tests.fuzz bundles --seconds 600
    python -m tests.fuzz events --input crash-…      runs one input again

An input that crashes, or takes longer than ten seconds, is written to the folder, and ends it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["engine"]):
    from tests.fuzz.targets import SEEDS, TARGETS, run_once

_HANGS_AFTER_S = 10


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--input", type=Path, help="run this input, and nothing else")
    parser.add_argument("--folder", type=Path, default=Path("fuzz"), help="corpus and crashes")
    arguments = parser.parse_args()
    if arguments.input is not None:
        run_once(arguments.target, arguments.input.read_bytes())
        return
    corpus = arguments.folder / arguments.target
    corpus.mkdir(parents=True, exist_ok=True)
    for at, seed in enumerate(SEEDS[arguments.target]):
        (corpus / f"seed-{at}").write_bytes(seed)
    # The process ends in libFuzzer: the folder is left to the system's own cleaning.
    place = Path(tempfile.mkdtemp(prefix="fuzz"))
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={arguments.seconds}",
            f"-timeout={_HANGS_AFTER_S}",
            f"-artifact_prefix={arguments.folder}/{arguments.target}-",
            "-max_len=8192",
            "-rss_limit_mb=4096",
            "-print_final_stats=1",
        ],
        TARGETS[arguments.target](place / "bundle"),
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
