"""The configuration: what wins over what, and what a mistake is told."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import pytest

from engine.device import Device
from engine.errors import ConfigError
from streams.configuration import load_settings, setting_names, variable_of
from streams.settings import OnWrongKey, Settings

SECRET = "s3cret-and-long"


class Write(Protocol):
    def __call__(self, text: str) -> Path: ...


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.upper().startswith("RISKSTREAM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    path = tmp_path / "riskstream.toml"

    def writer(text: str) -> Path:
        path.write_text(text, encoding="utf-8")
        return path

    return writer


def _refusal(path: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        load_settings(path)
    return str(caught.value)


def test_defaults_need_no_file() -> None:
    assert load_settings() == Settings()


def test_file_wins_over_defaults(write: Write) -> None:
    settings = load_settings(write("[topics]\npartitions = 12\n"))
    assert settings.topics.partitions == 12
    assert settings.topics.scores == "scores"


def test_environment_wins_over_file(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write('[topics]\npartitions = 12\nscores = "risk"\n')
    monkeypatch.setenv("RISKSTREAM_TOPICS__PARTITIONS", "24")
    settings = load_settings(path)
    assert settings.topics.partitions == 24
    assert settings.topics.scores == "risk"


def test_overrides_win_over_file(write: Write) -> None:
    path = write("[worker]\nmax_batch = 10\nweb_port = 7000\n")
    settings = load_settings(path, {"worker.web_port": 7001, "app.id": "other"})
    assert (settings.worker.web_port, settings.worker.max_batch) == (7001, 10)
    assert settings.app.id == "other"


def test_every_kind_of_value(write: Write) -> None:
    settings = load_settings(
        write(
            '[model]\nbundle = "bundles/a"\ndevice = "cuda"\nreview_threshold = 0.5\n'
            '[events]\non_wrong_key = "rekey"\n[fields]\namount = "payment.amount"\n'
        )
    )
    assert settings.model.bundle == Path("bundles/a")
    assert settings.model.device is Device.CUDA
    assert settings.model.review_threshold == 0.5
    assert settings.events.on_wrong_key is OnWrongKey.REKEY
    assert settings.fields == {"amount": "payment.amount"}


def test_fields_from_the_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISKSTREAM_FIELDS__AMOUNT", "tx.amt")
    settings = load_settings(write('[fields]\naccount = "card"\n'))
    assert settings.fields == {"amount": "tx.amt", "account": "card"}


@pytest.mark.parametrize("name", ["STATE__EXPIRE_DAYS", "MODEL__BUNDLE"])
def test_empty_variable_is_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"RISKSTREAM_{name}", "")
    settings = load_settings()
    section, key = name.lower().split("__")
    assert getattr(getattr(settings, section), key) is None


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().topics.partitions = 7  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[topics]\npartitons = 3\n", "topics.partitons: there is no such setting; did you mean "),
        ("[topcis]\npartitions = 3\n", "topcis: there is no such setting; did you mean topics?"),
        ('[state]\nurll = "redis://a"\n', "did you mean state.url?"),
    ],
)
def test_unknown_setting_names_the_nearest(write: Write, text: str, said: str) -> None:
    assert said in _refusal(write(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[topics]\npartitions = "many"\n', "topics.partitions: input should be a valid integer"),
        ("[topics]\npartitions = 0\n", "greater than or equal to 1, however: 0"),
        ('[topics]\nscores = "a b"\n', "topics.scores: string should match pattern"),
        (
            '[model]\ndevice = "gpu"\n',
            "should be 'auto', 'cpu', 'cuda' or 'tensorrt', however: 'gp",
        ),
        ("[state]\nexpire_days = -1\n", "state.expire_days: input should be greater than 0"),
        ("[fields]\namount = 5\n", "fields.amount: input should be a valid string, however: 5"),
        ('app = "x"\n', "app: input should be a valid dictionary"),
    ],
)
def test_wrong_value_says_the_rule_and_what_was_found(write: Write, text: str, said: str) -> None:
    assert said in _refusal(write(text))


def test_every_fault_is_said_at_once(write: Write) -> None:
    path = write("[topics]\npartitions = 0\n[worker]\nmax_batch = 0\n")
    refusal = _refusal(path)
    assert str(path) in refusal
    assert "topics.partitions" in refusal
    assert "worker.max_batch" in refusal


@pytest.mark.parametrize(
    ("variable", "near"),
    [
        ("RISKSTREAM_STATE__ULR", "RISKSTREAM_STATE__URL"),
        ("RISKSTREAM_TOPICS_PARTITIONS", "RISKSTREAM_TOPICS__PARTITIONS"),
        ("riskstream_worker__web_prt", "RISKSTREAM_WORKER__WEB_PORT"),
    ],
)
def test_unknown_variable_is_refused(
    variable: str, near: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, SECRET)
    refusal = _refusal()
    assert f"{variable}; did you mean {near}?" in refusal
    assert SECRET not in refusal


def test_every_setting_has_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    assert variable_of("state.url") == "RISKSTREAM_STATE__URL"
    variables = [variable_of(name) for name in setting_names()]
    assert len(set(variables)) == len(variables)
    assert len(variables) > 30


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RISKSTREAM_BROKER__SASL_PASSWORD", SECRET)
    monkeypatch.setenv("RISKSTREAM_STATE__URL", f"redis://risk:{SECRET}@db:6379/0")
    settings = load_settings()
    assert settings.broker.sasl_password.get_secret_value() == SECRET
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert SECRET not in text


@pytest.mark.parametrize(
    "text",
    [
        f'[broker]\nsasl_password = ["{SECRET}"]\n',
        f'[broker]\nsasl_pasword = "{SECRET}"\n',
        f'[broker]\nsession_timeout_s = 60\nsasl_password = "{SECRET}"\n',
        f'[state]\nurl = ["redis://:{SECRET}@db"]\n',
        f'[state]\nuri = "redis://:{SECRET}@db"\n',
        f'state = "redis://:{SECRET}@db"\n',
        f'[state]\nurl = "redis://:{SECRET}@db"\ntimeout_s = "soon"\n',
        f'[state]\nurl = "redis://:{SECRET}@db\n',
    ],
)
def test_errors_do_not_show_secrets(write: Write, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_settings(write(text))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.toml"
    assert _refusal(path) == f"the configuration must be a file, however: {path} does not exist"


def test_folder_is_no_file(tmp_path: Path) -> None:
    assert "must be readable, however:" in _refusal(tmp_path)


@pytest.mark.parametrize("text", ["[topics\n", "topics = \n", "[topics]\na = 1\na = 2\n"])
def test_broken_toml(write: Write, text: str) -> None:
    path = write(text)
    assert f"must be TOML, however: {path}: " in _refusal(path)


def test_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    assert "must be TOML, however:" in _refusal(path)


def test_timeouts_must_fit(write: Write) -> None:
    text = "[broker]\nsession_timeout_s = 60\nrequest_timeout_s = 30\n"
    assert "broker.request_timeout_s, however: 60 > 30" in _refusal(write(text))


def test_timeouts_must_fit_across_file_and_environment(
    write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("[broker]\nsession_timeout_s = 20\n")
    monkeypatch.setenv("RISKSTREAM_BROKER__REQUEST_TIMEOUT_S", "15")
    assert "however: 20 > 15" in _refusal(path)


def test_topics_must_differ(write: Write) -> None:
    refusal = _refusal(write('[topics]\nscores = "same"\nalerts = "same"\n'))
    assert (
        "topics must have different names, however: transactions, labels, same, same, dead"
        in refusal
    )


def test_alerts_must_fit_into_their_topic(write: Write) -> None:
    refusal = _refusal(write("[events]\nmax_bytes = 1_040_000\n"))
    assert "events.max_bytes must be at most topics.max_message_bytes less 16,384" in refusal
    assert "however: 1,040,000 > 1,032,204" in refusal
    more = write("[events]\nmax_bytes = 1_040_000\n[topics]\nmax_message_bytes = 2_000_000\n")
    assert load_settings(more).events.max_bytes == 1_040_000
