from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.bundle import Bundle, write_bundle
from engine.device import Device
from engine.errors import BundleError
from engine.layout import StateField, StateLayout
from engine.manifest import MANIFEST_FILE, MODEL_FILE, REASONS_FILE, ReasonGroup
from engine.scorer import Scorer
from tests.bundles import (
    LAYOUT,
    MANIFEST,
    SCHEMA,
    TERMINAL,
    model_graph,
    reasons_graph,
    tiny_bundle,
)

GRAPHS = {MODEL_FILE: b"model", REASONS_FILE: b"reasons"}


@pytest.fixture
def folder(bundle_folder: Path, tmp_path: Path) -> Path:
    """A good bundle, to be damaged."""
    return Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = orjson.loads((folder / MANIFEST_FILE).read_bytes())
    change(raw)
    (folder / MANIFEST_FILE).write_bytes(orjson.dumps(raw))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest = replace(
        MANIFEST,
        shared=(TERMINAL,),
        training={"events": 5},
    )
    write_bundle(tmp_path / "a" / "b", manifest, {**GRAPHS, "card.md": b"for people"})
    bundle = Bundle.load(tmp_path / "a" / "b")
    assert bundle.manifest == manifest
    assert (bundle.model, bundle.reasons) == (b"model", b"reasons")


def test_the_digest_is_the_same_for_the_same_bundle_and_only_for_it(tmp_path: Path) -> None:
    def digest(name: str, files: dict[str, bytes] = GRAPHS, **changes: Any) -> str:
        write_bundle(tmp_path / name, replace(MANIFEST, **changes), files)
        return Bundle.load(tmp_path / name).digest

    first = digest("first")
    assert len(first) == 64
    assert digest("copy") == digest("order", dict(reversed(GRAPHS.items()))) == first
    assert (
        len({first, digest("weights", GRAPHS | {MODEL_FILE: b"m"}), digest("v", version="2")}) == 3
    )


def test_a_bundle_written_over_another_is_the_new_one(folder: Path) -> None:
    write_bundle(folder, replace(MANIFEST, version="2"), GRAPHS)
    assert Bundle.load(folder).manifest.version == "2"


@pytest.mark.parametrize("at", ["first", "last"])
def test_a_rewrite_that_fails_leaves_no_valid_bundle(folder: Path, at: str) -> None:
    (folder / "blocked").mkdir()
    blocked = {"blocked": b"cannot be written over a folder"}
    files = blocked | GRAPHS if at == "first" else GRAPHS | blocked
    with pytest.raises(BundleError, match="must be writable"):
        write_bundle(folder, MANIFEST, files)
    with pytest.raises(BundleError, match=f"has no {MANIFEST_FILE}"):
        Bundle.load(folder)


def test_a_bundle_is_not_written_without_its_graphs(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"however: \['reasons.onnx'\] missing"):
        write_bundle(tmp_path, MANIFEST, {MODEL_FILE: b""})
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="must be writable"):
        write_bundle(tmp_path / "file", MANIFEST, GRAPHS)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=f"however: {tmp_path / 'none'} is no such folder"):
        Bundle.load(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(BundleError, match="Not a directory"):
        Bundle.load(tmp_path / "file")


@pytest.mark.parametrize("name", [MANIFEST_FILE, MODEL_FILE, REASONS_FILE])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BundleError, match=f"has no {name}; give the folder of a bundle"):
        Bundle.load(folder)


@pytest.mark.parametrize("name", [MODEL_FILE, REASONS_FILE])
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda content: b"",
        lambda content: content + b"\0",
        lambda content: content[:99] + bytes([content[99] ^ 1]) + content[100:],
    ],
    ids=["half", "empty", "one byte more", "one bit flipped"],
)
def test_a_damaged_graph_is_refused(
    folder: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(BundleError, match=f"{name} must have the SHA-256 .* truncated or was chan"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "manifest must be JSON, however: .*manifest.json"),
        (b"\x80\x04pickle", "manifest must be JSON"),
        (b'{"format": 1', "manifest must be JSON.*copy the bundle again"),
        (b"[" * 10_000, "manifest must be JSON"),
        (b"[]", "JSON object, however: list"),
        (b"{}", "format must be 1, however: None"),
        (b'{"format": 1}', "manifest must have 'name'"),
    ],
)
def test_a_manifest_that_is_none_is_refused(folder: Path, content: bytes, message: str) -> None:
    (folder / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format must be 1, however: 2; use the version of riskstream"),
        ({"name": ""}, "name must be a text, however: ''"),
        ({"version": 1}, "version must be a text, however: 1"),
        ({"schema": {"fields": []}}, "one field with the role event_id"),
        ({"schema": []}, "well-formed"),
        ({"schema": {"fields": [5]}}, "well-formed"),
        ({"thresholds": {"review": 0.9, "decline": 0.5}}, "review <= decline <= 1.*review=0.9"),
        ({"thresholds": {"review": 0.5}}, "well-formed.*decline"),
        ({"thresholds": {"review": "low", "decline": 1}}, "well-formed"),
        ({"reasons": [{"name": "amount"}]}, "well-formed.*text"),
        ({"shared": [{"name": "terminal"}]}, "a shared entity must have 'field'"),
        ({"training": 5}, "well-formed"),
        ({"state": {"fields": []}}, "digest must match"),
        ({"state": 5}, "."),
        ({"files": None}, "list the SHA-256 of"),
        ({"files": {MODEL_FILE: "0" * 64}}, "list the SHA-256 of"),
        ({"files": {MODEL_FILE: 5, REASONS_FILE: None}}, "model.onnx must have the SHA-256"),
    ],
)
def test_a_manifest_with_a_wrong_part_is_refused(
    folder: Path, changes: dict[str, Any], message: str
) -> None:
    change_manifest(folder, lambda raw: raw.update(changes))
    with pytest.raises(BundleError, match=message):
        Bundle.load(folder)


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/hostname", "..", ".", "", "a/b", "a\0b", "..\\secret", "a/"]
)
def test_a_file_outside_the_folder_is_not_read(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("x")
    change_manifest(folder, lambda raw: raw["files"].update({name: "0" * 64}))
    with pytest.raises(BundleError, match="must lie in its folder"):
        Bundle.load(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({MODEL_FILE: b"garbage"}, "must be ONNX that this ONNX Runtime"),
        ({REASONS_FILE: b""}, "must be ONNX that this ONNX Runtime"),
        ({MODEL_FILE: model_graph()[:-20]}, "must be ONNX that this ONNX Runtime"),
        ({MODEL_FILE: model_graph(["score", "late"])}, "'duplicate', 'new_state_float32', 'new_s"),
        ({REASONS_FILE: reasons_graph("scores_of_groups")}, "contributions missing"),
        ({REASONS_FILE: model_graph()}, "contributions missing"),
    ],
)
def test_graphs_that_cannot_score_are_refused(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    graphs = {MODEL_FILE: model_graph(), REASONS_FILE: reasons_graph()}
    write_bundle(tmp_path, MANIFEST, graphs | files)
    with pytest.raises(BundleError, match=message):
        Scorer(Bundle.load(tmp_path), Device.CPU)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {
                "schema": replace(
                    SCHEMA, fields=tuple(f for f in SCHEMA.fields if f.role != "amount")
                )
            },
            r"inputs of the model graph.*however: \['amount'\]",
        ),
        (
            {"state": StateLayout((*LAYOUT.fields, StateField("more", "int32")))},
            r"\['new_state_int32'\] missing",
        ),
        (
            {"state": StateLayout((*LAYOUT.fields, StateField("more", "int64")))},
            r"state_int64 must have .* \['batch', 6\], however: the graph's is \['batch', 5\]",
        ),
        (
            {"reasons": (*MANIFEST.reasons, ReasonGroup("more", "More."))},
            r"contributions must have .* \['batch', 3\], however: the graph's is \['batch', 2\]",
        ),
    ],
    ids=["field", "data type", "width", "reasons"],
)
def test_graphs_that_do_not_fit_the_manifest_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    bundle = Bundle.load(tiny_bundle(tmp_path, **changes))
    with pytest.raises(BundleError, match=message):
        Scorer(bundle, Device.CPU)


def test_a_bundle_scores_after_its_folder_is_gone(folder: Path) -> None:
    scorer = Scorer(Bundle.load(folder), Device.CPU)
    shutil.rmtree(folder)
    assert scorer.layout.zeros(1).tobytes() == bytes(LAYOUT.nbytes)
    assert scorer.decide(np.zeros(1, np.float32)).tolist() == [0]
