"""The targets of ``make fuzz``, each on a few hundred inputs, and on all that was ever found."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


@pytest.fixture(scope="module", params=sorted(TARGETS))
def target(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Callable[[bytes], None]]:
    name: str = request.param
    return name, TARGETS[name](tmp_path_factory.mktemp(name) / "bundle")


def test_nothing_but_documented_errors(target: tuple[str, Callable[[bytes], None]]) -> None:
    name, run = target

    @settings(max_examples=60 if name == "bundles" else 300)
    @given(st.binary(max_size=200), st.sampled_from(SEEDS[name]), st.integers(0, 200))
    def tried(noise: bytes, seed: bytes, at: int) -> None:
        for data in (noise, seed[:at] + noise + seed[at + len(noise) :]):
            run(data)

    tried()


FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("file", sorted(FOUND.glob("*")), ids=lambda file: file.name)
def test_what_was_found_once(file: Path, tmp_path: Path) -> None:
    name = file.name.split("-")[0]
    TARGETS[name](tmp_path / "bundle")(file.read_bytes())
