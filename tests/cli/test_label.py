"""``riskstream label``: what the labels topic then holds, and clear errors."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from engine.label_decode import LabelKind
from streams.configuration import load_settings
from streams.embedded.processes import choose_port
from tests.bundles import shared_bundle, tiny_bundle
from tests.cli.running import error_line, invoke, riskstream
from tests.cli.topics import read_all, write_config


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_bundle(tmp_path_factory.mktemp("bundle") / "shared")


def published(config: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the labels topic holds: keys and values."""
    for record in read_all(config, "labels"):
        yield record.key.decode(), orjson.loads(record.value)


def test_each_event_gets_a_label_under_its_id(config: Path, bundle: Path, tmp_path: Path) -> None:
    words = ("label", "t1", "007", "ü 3", "--fraud", "--kind", "chargeback", "--source", "visa")
    known = ("--known-at", "2026-01-31T12:00:00+02:00")
    done = riskstream(*words, *known, "-c", config, "-b", bundle, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    topic = load_settings(config).topics.labels
    assert done.stdout == f"3 labels (fraud) published to {topic}\n"
    assert dict(published(config)) == {
        event: {
            "event_id": event,
            "fraud": True,
            "known_at": "2026-01-31T10:00:00Z",
            "source": "visa",
            "kind": "chargeback",
        }
        for event in ("t1", "007", "ü 3")
    }


def test_json_tells_when_it_became_known_which_is_now(
    config: Path, bundle: Path, tmp_path: Path
) -> None:
    before = datetime.now(UTC)
    done = invoke("label", "t1", "--genuine", "--json", "-c", config, "-b", bundle, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    told = orjson.loads(done.stdout)
    ((key, label),) = published(config)
    assert (told["published"], key, label["fraud"]) == (1, "t1", False)
    known = datetime.fromisoformat(told["known_at"])
    assert before - timedelta(milliseconds=1) <= known <= datetime.now(UTC)
    assert datetime.fromisoformat(label["known_at"]) == known


def test_a_later_label_lies_in_the_partition_of_the_first(
    config: Path, bundle: Path, tmp_path: Path
) -> None:
    for said in ("--fraud", "--genuine"):
        done = invoke("label", "t7", said, "-c", config, "-b", bundle, cwd=tmp_path)
        assert done.returncode == 0
        assert done.stdout.startswith(f"1 label ({said[2:]}) published to ")
    records = read_all(config, "labels")
    assert len({record.partition for record in records}) == 1
    assert [orjson.loads(record.value)["fraud"] for record in records] == [True, False]


def test_a_model_that_uses_no_labels_is_told(config: Path, tmp_path: Path) -> None:
    tiny = tiny_bundle(tmp_path / "tiny")
    done = invoke("label", "t1", "--fraud", "-c", config, "-b", tiny, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stderr == "the model tiny uses no labels: they change no score\n"
    assert len(read_all(config, "labels")) == 1


def test_a_broker_that_is_not_there_is_one_line(bundle: Path, tmp_path: Path) -> None:
    address = f"127.0.0.1:{choose_port(None)}"
    config = write_config(tmp_path, address)
    quick = {"RISKSTREAM_BROKER__CONNECT_TIMEOUT_S": "0.5"}
    done = invoke("label", "t1", "--fraud", "-c", config, "-b", bundle, cwd=tmp_path, **quick)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"Kafka must answer at broker.bootstrap = {address}" in error_line(done)


@pytest.mark.parametrize(
    ("words", "rule", "found"),
    [
        (["t1"], "a label must say --fraud or --genuine", "neither"),
        (["t1", "--fraud", "--known-at", "soon"], "--known-at must be an ISO 8601", "'soon'"),
        (["t1", "--fraud", "--known-at", "9999-12-31T23:59:59-14:00"], "ISO 8601", "9999-12-31"),
        (["t1", "--fraud", "--known-at", "0001-01-01"], "not lie before 1970", "0001-01-01"),
        (["t1", "--fraud", "--known-at", "2999-01-01"], "at most 300 s ahead", "2999-01-01"),
        (["t1", "", "--fraud"], "event_id must not be empty", "it is"),
        (["x" * 300, "--fraud"], "at most 256 characters", "300"),
        (["t1", "--fraud", "--source", "x" * 300_000], "at most 262,144 bytes", "300,"),
    ],
    ids=["neither", "word", "beyond", "before", "future", "empty", "long", "large"],
)
def test_what_the_worker_would_refuse_is_one_line(
    words: list[str], rule: str, found: str, bundle: Path, tmp_path: Path
) -> None:
    done = invoke("label", *words, "-b", bundle, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert rule in error_line(done)
    assert found in error_line(done)


def test_a_kind_that_is_none_names_those_there_are(tmp_path: Path) -> None:
    done = invoke("label", "t1", "--fraud", "--kind", "chargebak", cwd=tmp_path)
    assert done.returncode == 2
    assert all(name in done.stderr for name in ("chargebak", *LabelKind))


def test_no_event_is_a_usage_error(tmp_path: Path) -> None:
    done = invoke("label", "--fraud", cwd=tmp_path)
    assert done.returncode == 2
    assert "events" in done.stderr
