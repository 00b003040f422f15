"""``riskstream bundle``: what a bundle says of itself, and whether it is sound."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from engine.bundle import Bundle, write_bundle
from engine.manifest import MANIFEST_FILE, MODEL_FILE, REASONS_FILE
from models.packs.registry import pack_folder
from tests.bundles import MANIFEST, model_graph, reasons_graph, shared_bundle, tiny_bundle
from tests.cli.running import error_line, invoke, riskstream

OURS = pack_folder("fraud") / "bundle"


def test_show_tells_what_a_person_asks(tmp_path: Path) -> None:
    done = riskstream("bundle", "show", tiny_bundle(tmp_path / "b"), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tiny version 1.0.0\n")
    assert Bundle.load(tmp_path / "b").digest in done.stdout
    assert "review from 0.3000, decline from 0.7000" in done.stdout
    assert "amount (amount: number)" in done.stdout
    assert "bytes an account" in done.stdout


def test_show_tells_what_a_score_knows(tmp_path: Path) -> None:
    plain = invoke("bundle", "show", tiny_bundle(tmp_path / "tiny"), cwd=tmp_path, COLUMNS="300")
    assert re.search(r"^labels +not used", plain.stdout, flags=re.MULTILINE)
    assert "shared" not in plain.stdout
    done = invoke("bundle", "show", shared_bundle(tmp_path / "b"), cwd=tmp_path, COLUMNS="300")
    assert done.returncode == 0
    terminal, holder, _ = re.findall(r"^shared +(.*?) *$", done.stdout, flags=re.MULTILINE)
    assert terminal == (
        "terminal (by terminal): events, money, known, frauds; 5 buckets of 24 h, closed 1 h after "
        "their end; 120 bytes an entity"
    )
    assert holder.startswith("holder (by account): frauds; 9 buckets of 6 h, closed 0 h after")
    assert re.search(r"^labels +used", done.stdout, flags=re.MULTILINE)
    assert re.search(r"^features +of_amount, of_history", done.stdout, flags=re.MULTILINE)


def test_show_takes_the_bundle_that_comes_with_riskstream(tmp_path: Path) -> None:
    done = invoke("bundle", "show", cwd=tmp_path)
    assert done.returncode == 0
    assert Bundle.load(OURS).digest in done.stdout


def test_show_of_a_bundle_with_rules_tells_nothing_of_thresholds(tmp_path: Path) -> None:
    done = invoke("bundle", "show", pack_folder("credit") / "bundle", cwd=tmp_path)
    assert "auc_roc" in done.stdout
    assert "at_threshold" not in done.stdout
    assert "card_precision" not in done.stdout
    assert "card_precision_at_100" in invoke("bundle", "show", OURS, cwd=tmp_path).stdout


def test_show_as_json_is_the_manifest_with_the_digest(tmp_path: Path) -> None:
    done = invoke("bundle", "show", OURS, "--json", cwd=tmp_path)
    told = orjson.loads(done.stdout)
    assert told["digest"] == Bundle.load(OURS).digest
    assert told["name"] == Bundle.load(OURS).manifest.name
    assert {"schema", "state", "thresholds", "reasons", "metrics"} <= set(told)


def test_verify_accepts_a_sound_bundle(tmp_path: Path) -> None:
    done = invoke("bundle", "verify", OURS, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "is sound" in done.stdout
    told = orjson.loads(invoke("bundle", "verify", "--json", cwd=tmp_path).stdout)
    assert told["ok"] is True
    assert told["digest"] == Bundle.load(OURS).digest


def flip_a_byte(folder: Path) -> None:
    content = bytearray((folder / MODEL_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / MODEL_FILE).write_bytes(content)


def cut(folder: Path) -> None:
    path = folder / REASONS_FILE
    path.write_bytes(path.read_bytes()[:-10])


def forget_the_graph(folder: Path) -> None:
    (folder / MODEL_FILE).unlink()


def forget_the_manifest(folder: Path) -> None:
    (folder / MANIFEST_FILE).unlink()


def raise_a_threshold(folder: Path) -> None:
    manifest = orjson.loads((folder / MANIFEST_FILE).read_bytes())
    manifest["thresholds"]["review"] = 7.0
    (folder / MANIFEST_FILE).write_bytes(orjson.dumps(manifest))


def garble(folder: Path) -> None:
    (folder / MANIFEST_FILE).write_bytes(b"{")


TAMPERING = {
    flip_a_byte: MODEL_FILE,
    cut: REASONS_FILE,
    forget_the_graph: MODEL_FILE,
    forget_the_manifest: MANIFEST_FILE,
    raise_a_threshold: "threshold",
    garble: MANIFEST_FILE,
}


@pytest.mark.parametrize("command", ["show", "verify"])
@pytest.mark.parametrize("tamper", TAMPERING, ids=lambda each: each.__name__)
def test_a_tampered_bundle_is_refused_with_the_reason(
    tamper: Callable[[Path], None], command: str, tmp_path: Path
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(OURS, folder)
    tamper(folder)
    done = invoke("bundle", command, folder, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "")
    assert TAMPERING[tamper] in error_line(done)


def test_a_graph_that_does_not_fit_its_manifest_is_refused(tmp_path: Path) -> None:
    graphs = {MODEL_FILE: model_graph(("score", "late")), REASONS_FILE: reasons_graph()}
    write_bundle(tmp_path / "bundle", MANIFEST, graphs)
    done = riskstream("bundle", "verify", tmp_path / "bundle", cwd=tmp_path)
    assert done.returncode == 3
    assert "duplicate" in error_line(done)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    done = invoke("bundle", "show", "nowhere", cwd=tmp_path)
    assert done.returncode == 3
    assert "nowhere" in error_line(done)
