"""The model card of a bundle."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import export.bundle as bundles
from engine.bundle import Bundle
from engine.errors import BundleError
from export.bundle import export_bundle
from export.card import CARD_FILE, update_card, write_short_card
from models.packs.registry import pack_folder
from models.report import Page
from models.training import TrainedScorer
from tests.bundles import MANIFEST, tiny_bundle


@pytest.fixture(scope="module")
def folder(trained: TrainedScorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with a card of its own. Its graphs, of which no card tells, would take a while."""
    folder = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("export_model", "export_reasons"):
            patch.setattr(bundles, name, lambda *_: b"a graph")
        patch.setattr(bundles, "check_parity", lambda *_, **__: None)
        export_bundle(trained, folder, name="tiny", version="7", training={"data": "planted.csv"})
    return folder


def card(folder: Path) -> str:
    return (folder / CARD_FILE).read_text(encoding="utf-8")


def test_a_card_says_what_its_reader_must_know(folder: Path, trained: TrainedScorer) -> None:
    text = card(folder)
    manifest = Bundle.load(folder).manifest
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == [
        *("Use", "Training", "Thresholds", "Reasons", "Inputs"),
        *("Validation", "Calibration", "Where it fails"),
    ]
    assert "planted.csv" in text
    assert f"reviewed from the score {manifest.thresholds.review:.4f} on" in text
    assert "0.5 % of the events" in text
    for group in manifest.reasons:
        assert group.text in text
    validation = manifest.training["validation"]
    assert f"{validation['events']:,} events, {validation['positives']:,} frauds" in text
    assert f"{manifest.metrics['validation']['average_precision']:.4f}" in text
    assert "None" not in text


def test_validation_figures_are_those_of_the_training(folder: Path, trained: TrainedScorer) -> None:
    found = Bundle.load(folder).manifest.metrics["validation"]
    assert {name: found[name] for name in trained.metrics} == pytest.approx(dict(trained.metrics))
    assert found["events"] == len(trained.validation)
    assert found["at_threshold"]["review"]["share"] <= trained.config.review_share


def test_a_card_is_not_of_the_digest(folder: Path) -> None:
    before = Bundle.load(folder).digest
    update_card(folder, MANIFEST, Page("Evaluation", "of a day"))
    (folder / "report.html").write_text("<p>anything</p>", encoding="utf-8")
    assert Bundle.load(folder).digest == before


def test_an_evaluation_takes_the_place_of_the_last_and_of_nothing_else(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path)
    update_card(folder, MANIFEST, Page("Evaluation 1"))
    first = card(folder)
    assert first.startswith("# Model card: tiny, version 1.0.0")
    (folder / CARD_FILE).write_text(f"A note.\n\n{first}\nMy own words.\n", encoding="utf-8")
    update_card(folder, MANIFEST, Page("Evaluation 2").section("In short", text="Good."))
    text = card(folder)
    assert text.startswith("A note.\n\n# Model card")
    assert text.endswith("\nMy own words.\n")
    assert "## Evaluation 2\n\n### In short\n\nGood." in text
    assert "Evaluation 1" not in text


def test_a_card_of_a_bundle_that_says_little_can_be_made(tmp_path: Path) -> None:
    bare = replace(MANIFEST, training={}, metrics={}, versions={}, reasons=())
    update_card(tmp_path, bare, Page("Evaluation"))
    assert "| training period | not said |" in card(tmp_path)


def test_a_card_that_cannot_be_read_or_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="must be writable, however"):
        update_card(tmp_path / "none", MANIFEST, Page("Evaluation"))
    (tmp_path / CARD_FILE).write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BundleError, match="must be readable, however"):
        update_card(tmp_path, MANIFEST, Page("Evaluation"))


def test_a_card_of_another_pack_has_no_words_of_fraud(tmp_path: Path) -> None:
    write_short_card(tmp_path, Bundle.load(pack_folder("credit") / "bundle").manifest)
    assert "not what caused the outcome" in card(tmp_path)
    assert "fraud" not in card(tmp_path)
