"""The draft of a pack: what is chosen from columns of several habits, and that it fits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from engine.decode import Decoder
from engine.errors import ConfigError, HistoryError, SchemaError
from engine.history import History
from engine.schema import Schema, TimeFormat
from models.config import TrainConfig, load_train_config
from models.draft import draft_pack
from models.packs.fit import check_pack
from models.packs.registry import find_pack, load_schema, pack_folder
from tests.wallets import Row, transfers, write

ROWS = transfers(1_500)


def renamed(names: dict[str, str]) -> list[Row]:
    """The transfers with other columns; those without a name are left out."""
    return [{name: row[key] for key, name in names.items()} for row in ROWS]


def drafted(folder: Path, rows: list[Row], **given: str) -> tuple[Schema, TrainConfig]:
    """What the pack that is drafted for rows says."""
    for name, text in draft_pack(write(folder / "a.csv", rows), "mine", given).files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return load_schema(folder), load_train_config(folder)


def paths(schema: Schema) -> dict[str, str]:
    return {each.name: each.path for each in schema.fields}


KAGGLE = {
    "transfer_id": "trans_num",
    "created_at": "trans_date_trans_time",
    "wallet": "cc_num",
    "receiver": "merchant",
    "value": "amt",
    "fee": "lat",
    "status": "is_fraud",
}
CAMEL = {
    "transfer_id": "paymentId",
    "created_at": "createdAt",
    "wallet": "nameOrig",
    "receiver": "nameDest",
    "value": "totalAmount",
    "fee": "oldbalanceOrg",
    "status": "isFraud",
}
CAPITALS = {
    "transfer_id": "TRANSACTION_ID",
    "created_at": "TX_DATETIME",
    "wallet": "CUSTOMER_ID",
    "receiver": "TERMINAL_ID",
    "value": "TX_AMOUNT",
    "fee": "TX_FEE",
    "status": "TX_FRAUD",
}


@pytest.mark.parametrize("names", [KAGGLE, CAMEL, CAPITALS], ids=["kaggle", "camel", "capitals"])
def test_columns_are_found_by_their_names(names: dict[str, str], tmp_path: Path) -> None:
    schema, config = drafted(tmp_path, renamed(names))
    entity, number = (names[key].lower() for key in ("receiver", "fee"))
    assert paths(schema) == {
        "event_id": names["transfer_id"],
        "event_time": names["created_at"],
        "account": names["wallet"],
        "amount": names["value"],
        entity: names["receiver"],
        number: names["fee"],
        "fraud": names["status"],
    }
    assert config.scorer.counterparty == entity
    assert [each.name for each in config.scorer.shared] == [entity, "account"]


def test_a_draft_builds_a_scorer_and_reads_its_file(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    import torch

    from models.scorer import Scorer
    from tests.models.tools import unknown, zeros

    schema, config = drafted(tmp_path, ROWS)
    check_pack(schema, config.scorer)
    scorer = Scorer(schema, config.scorer)
    decoded = History.open(tmp_path / "a.csv", schema).decode(Decoder(schema), 1 << 42)
    assert (len(decoded.columns), decoded.rejects) == (len(ROWS), [])
    first = decoded.columns.take(np.arange(9))
    events = {name: torch.from_numpy(first.values[name]) for name in scorer.inputs}
    made, _, _ = scorer.features(events, zeros(scorer, 9), unknown(scorer, 9))
    place = [each.name for each in scorer.outputs].index("event_fee")
    assert made[:, place].tolist() == pytest.approx([row["fee"] for row in ROWS[:9]])


def test_without_an_entity_there_is_no_counterparty(tmp_path: Path) -> None:
    names = {key: key for key in ROWS[0] if key not in ("receiver", "fee")}
    schema, config = drafted(tmp_path, renamed(names))
    assert schema.entities == ()
    assert config.scorer.counterparty is None
    assert [each.name for each in config.scorer.shared] == ["account"]
    assert not {"novelty", "numbers"} & {each.name for each in config.scorer.features}
    check_pack(schema, config.scorer)


@pytest.mark.parametrize(
    ("factor", "expected"), [(1, TimeFormat.EPOCH_S), (1_000, TimeFormat.EPOCH_MS)]
)
def test_times_may_be_numbers(factor: int, expected: TimeFormat, tmp_path: Path) -> None:
    rows = [row | {"created_at": (1_767_225_600 + 60 * at) * factor} for at, row in enumerate(ROWS)]
    schema, config = drafted(tmp_path, rows)
    assert schema.event_time.format is expected
    assert config.warm_up_days < 1  # the file is of one day


def test_nested_json_lines_have_paths(tmp_path: Path) -> None:
    events = [
        {
            "id": row["transfer_id"],
            "card": {"token": row["wallet"]},
            "amount": {"value": row["value"]},
            "time": row["created_at"],
            "fraud": row["status"],
        }
        for row in ROWS
    ]
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, events)))
    text = draft_pack(path, "mine", {}).files["schema.toml"]
    assert 'path = "card.token"' in text
    assert 'path = "amount.value"' in text


def test_what_tells_the_label_is_left_out(tmp_path: Path) -> None:
    rows = [
        row | {"loss": 100.0 + at % 7 if row["status"] == "fraud" else float(at % 7)}
        for at, row in enumerate(ROWS)
    ]
    found = draft_pack(write(tmp_path / "a.csv", rows), "mine", {})
    assert ("loss", "left out") in [choice[:2] for choice in found.choices]
    assert "#   loss: it alone tells the label" in found.files["schema.toml"]


def test_a_missing_number_has_a_default(tmp_path: Path) -> None:
    rows = [row | ({"fee": None} if at % 4 else {}) for at, row in enumerate(ROWS)]
    schema, _ = drafted(tmp_path, rows)
    (fee,) = [each for each in schema.fields if each.name == "fee"]
    assert (fee.required, fee.default) == (False, 0.0)


def test_what_the_user_says_counts(tmp_path: Path) -> None:
    names = {**{key: f"c{at}" for at, key in enumerate(ROWS[0])}}
    given = {
        "event_id": names["transfer_id"],
        "event_time": names["created_at"],
        "account": names["wallet"],
        "amount": names["value"],
        "shop": names["receiver"],
    }
    schema, _ = drafted(tmp_path, renamed(names), **given)
    assert schema.account.path == names["wallet"]
    assert [each.path for each in schema.entities] == [names["receiver"]]


@pytest.mark.parametrize("missing", ["transfer_id", "created_at", "wallet", "value", "status"])
def test_a_column_that_is_needed_and_not_found_is_named(missing: str, tmp_path: Path) -> None:
    names = {key: key for key in ROWS[0] if key != missing and key != "fee"}
    path = write(tmp_path / "a.csv", renamed(names))
    with pytest.raises(HistoryError, match=r"a file must have a column for .*--field \w+=COLUMN"):
        draft_pack(path, "mine", {})


def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"account=walet; did you mean 'wallet'"):
        draft_pack(write(tmp_path / "a.csv", ROWS), "mine", {"account": "walet"})


def test_the_schema_must_have_what_the_scorer_reads(tmp_path: Path) -> None:
    schema, config = drafted(tmp_path, ROWS)
    usual = replace(load_train_config(pack_folder("fraud")).scorer, counterparty="terminal")
    with pytest.raises(SchemaError) as told:
        check_pack(schema, usual)
    for part in ("'terminal'", "counterparty", "entity_rates", "receiver", "riskstream data draft"):
        assert part in str(told.value)
    without = Schema(tuple(each for each in schema.fields if each.name != "fee"))
    with pytest.raises(SchemaError, match=r"no 'fee', which is read by the feature numbers"):
        check_pack(without, config.scorer)
    other: list[Any] = [
        type(each).from_dict(each.to_dict() | {"type": "category"}) if each.name == "fee" else each
        for each in schema.fields
    ]
    with pytest.raises(SchemaError, match="must be of the type number"):
        check_pack(Schema(tuple(other)), config.scorer)


def test_a_draft_has_each_familys_own_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = tmp_path / "usual"
    shutil.copytree(pack_folder("fraud"), usual, ignore=shutil.ignore_patterns("demo", "bundle"))
    (usual / "training.toml").write_text(
        "epochs = 2\n[families.mlp]\nclip = 3.5\nhidden = [7, 5]\n[families.cnn.cell]\nsize = 9\n"
    )
    monkeypatch.setattr("models.draft.write.pack_folder", lambda _: usual)
    drafted(tmp_path, ROWS)
    mlp, cnn = (load_train_config(tmp_path, family) for family in ("mlp", "cnn"))
    assert (mlp.epochs, mlp.clip, mlp.scorer.hidden) == (2, 3.5, (7, 5))
    assert (cnn.clip, cnn.scorer.cell.options) == (1.0, {"size": 9})


def test_a_pack_is_a_name_or_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    assert find_pack("mine") == Path("mine")
    assert find_pack("./mine") == Path("mine")
    (tmp_path / "fraud").mkdir()
    assert find_pack("fraud") == pack_folder("fraud")
    assert find_pack("./fraud") == Path("fraud")
    with pytest.raises(ConfigError, match="did you mean 'fraud'"):
        find_pack("froud")
    with pytest.raises(ConfigError, match=r"\./none is none; .*data draft"):
        find_pack("./none")
