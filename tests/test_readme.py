"""What README and the docs show is real: commands, configuration, and links."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from benchmarks import report
from engine.buckets import record
from engine.columns import Reason
from engine.knowledge import check_fields
from engine.labels import LabelReader
from engine.shared import SharedEntity
from models.config import load_train_config
from models.packs.registry import load_schema, pack_folder
from models.search_space import load_space
from streams.configuration import load_settings
from tests.bundles import SCHEMA, SHARED
from tests.deploy.commands import parse

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTEXT = (ROOT / "docs/context.md").read_text(encoding="utf-8")
TRAINING = (ROOT / "docs/training.md").read_text(encoding="utf-8")


def blocks(language: str, text: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[str]:
    lines = "\n".join(blocks("sh")).replace("\\\n", " ").splitlines()
    inline = re.findall(r"`(riskstream [^`]+|docker compose [^`]+|make [a-z]+)`", README)
    shown = [line for line in [*lines, *inline] if line.strip() and "→" not in line]
    return [line.split("#")[0].strip(" &") for line in shown]


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("riskstream ")])
def test_commands_exist_with_their_options(command: str) -> None:
    words = shlex.split(command.split(">")[0])[1:]
    if words[0] == "bundle":
        assert words[1] in ("show", "thresholds", "verify")
    elif len(words) > 1:
        parse(words)


def training_commands() -> list[str]:
    """The commands of docs/training.md, without what starts them."""
    lines = "\n".join(blocks("sh", TRAINING)).splitlines()
    return [line[line.index("riskstream ") :] for line in lines if "riskstream " in line]


@pytest.mark.parametrize("command", training_commands())
def test_commands_of_training_exist_with_their_options(command: str) -> None:
    parse(shlex.split(command)[1:])


def test_every_group_of_reasons_is_documented_with_its_sentence() -> None:
    text = (ROOT / "docs/explanations.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \| .* \| (.*) \|$", text, flags=re.MULTILINE))
    reasons = load_train_config(pack_folder("fraud")).scorer.reasons
    assert rows == {each.name: each.text for each in reasons}


def test_the_search_space_of_the_docs_can_be_read(tmp_path: Path) -> None:
    (block,) = blocks("toml", TRAINING)
    (tmp_path / "search.toml").write_text(block, encoding="utf-8")
    space = load_space(tmp_path, load_train_config(pack_folder("fraud"), "gru"))
    assert [each.name for each in space.dimensions] == ["learning_rate", "hidden", "cell.size"]


@pytest.mark.parametrize("command", [each for each in commands() if each.startswith("make ")])
def test_targets_exist(command: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.search(rf"^{command.split()[1]}:", makefile, flags=re.MULTILINE)


def test_configuration_is_valid(tmp_path: Path) -> None:
    found = blocks("toml")
    assert found
    for at, block in enumerate(found):
        path = tmp_path / f"{at}.toml"
        path.write_text(block, encoding="utf-8")
        load_settings(path)


def test_json_is_json() -> None:
    for block in blocks("json"):
        json.loads(block)


def test_the_label_is_one_that_the_worker_reads() -> None:
    (block,) = [each for each in blocks("json") if "known_at" in each]
    reader = LabelReader(SCHEMA, SHARED, max_bytes=1_000, max_future_ms=0)
    decoded = reader.decode([block.encode()], [0], 1 << 42)
    assert (decoded.event_ids, decoded.rejects) == (["1234"], [])


def test_every_reason_of_a_dead_letter_is_told() -> None:
    assert [each for each in Reason if f"`{each}`" not in README] == []


def entities() -> list[SharedEntity]:
    """The shared entities that the page on context shows; their times are in hours."""
    found = []
    for block in blocks("toml", CONTEXT):
        for raw in tomllib.loads(block)["shared"]:
            seconds = {f"{each}_s": 3600 * raw.pop(f"{each}_hours") for each in ("bucket", "grace")}
            found.append(SharedEntity.from_dict(raw | seconds))
    return found


def test_the_declared_entity_is_valid() -> None:
    (shared,) = entities()
    check_fields(load_schema(pack_folder("fraud")), [shared])
    assert shared.input == "shared_terminal"
    assert shared.takes_labels


@pytest.mark.parametrize(
    ("time", "ended"),
    [("12:30", "06:00"), ("12:59", "06:00"), ("13:00", "12:00"), ("18:59", "12:00")],
)
def test_a_bucket_closes_when_the_page_says(time: str, ended: str) -> None:
    (shared,) = entities()
    at, end = (
        int(datetime.fromisoformat(f"2026-01-31T{each}Z").timestamp()) for each in (time, ended)
    )
    closed = shared.closed(np.array([at * 1000]))
    assert (closed + 1) * shared.bucket_s == end


def test_the_entity_takes_what_the_page_says() -> None:
    (shared,) = entities()
    size = record(shared).itemsize
    assert size == 8 + 4 * (shared.buckets + 2) * len(shared.quantities)
    assert f"the\nentity above {(size + 150) / 1000:.1f} kB" in CONTEXT


@pytest.mark.parametrize(
    "document",
    ["README.md", "CHANGELOG.md", *(f"docs/{each.name}" for each in (ROOT / "docs").glob("*.md"))],
)
def test_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


def test_the_table_of_the_benchmark_is_that_of_the_run_that_is_kept() -> None:
    found = json.loads((ROOT / "docs/benchmark/benchmark.json").read_text(encoding="utf-8"))
    shown = README.split(report.BEGIN)[1].split(report.END)[0].strip()
    assert shown == report.to_readme(found)
    kept = (ROOT / "docs/benchmark/benchmark.md").read_text(encoding="utf-8")
    assert kept == report.to_markdown(found)
