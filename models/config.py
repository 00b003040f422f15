"""What a scorer is made of and how it is trained, as a pack's TOML files declare it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from engine.decisions import DECISION_NAMES, Rule
from engine.errors import BundleError, ConfigError
from engine.manifest import ReasonGroup
from engine.shared import SharedEntity
from models.checks import check_family, check_keys, check_types
from models.costs import Costs
from models.thresholds import BUDGET, ThresholdRule

SCORER_FILE = "scorer.toml"
TRAINING_FILE = "training.toml"

#: In what a network may compute while it learns; ``auto`` leaves it to the device.
AUTO = "auto"
PRECISIONS = (AUTO, "float32", "bfloat16", "float16")

_COSTS = Costs()

#: What a family may have of its own in its network, beside the cell's options.
NETWORK_SETTINGS = ("hidden", "dropout", "members", "knots")

_NONE: Mapping[str, Any] = MappingProxyType({})

#: The group of reasons that stands for the cell's state.
MEMORY_GROUP = "sequence"


@dataclass(frozen=True, slots=True)
class Part:
    """A feature or a cell: its name in the registry, and its options."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any], key: str) -> Part:
        """Read a part whose name stands under ``key``. Raises :class:`ConfigError`."""
        if not isinstance(raw.get(key), str):
            raise ConfigError(f"a part of a scorer must have a {key}, however: {dict(raw)}")
        return cls(raw[key], {name: value for name, value in raw.items() if name != key})


@dataclass(frozen=True, slots=True)
class ScorerConfig:
    """What a scorer is made of.

    Args:
        pack: the pack it belongs to.
        features: the features, in order.
        cell: the sequence cell.
        reasons: a group and its sentence for every group that the features name, and one for the
            cell's state (``sequence``) if it has one; in the order of the reasons graph.
        shared: the entities that events of many accounts share, and what is added up of each.
        counterparty: the field of the event that names the other side; None for none.
        omit: columns that the features make and the model is not given.
        ring: how many of an account's last events are kept.
        late_after_s: an event this much older than the account's last is late.
        period_s: so is one that comes sooner than this after it; 0 for none.
        late_counts: whether a late event changes what is known of its account. Where it does not,
            it is only remembered by its id, so that a repeat of it is found.
        output: what is made of the network's output (:mod:`models.answers`).
        rules: what decides instead of thresholds of the score (:class:`engine.decisions.Rule`).
        decisions: the names of the decisions, in the order of rising risk.
        hidden: the widths of the head's layers.
        dropout: the share of units left out in training.
        knots: the segments of each feature's quantile map.
        members: how many heads share the network (:class:`models.head.Head`).
    """

    pack: str
    features: tuple[Part, ...]
    cell: Part
    reasons: tuple[ReasonGroup, ...]
    shared: tuple[SharedEntity, ...] = ()
    counterparty: str | None = None
    omit: tuple[str, ...] = ()
    ring: int = 16
    late_after_s: float = 86_400.0
    period_s: float = 0.0
    late_counts: bool = True
    output: Part = Part("probability")
    rules: tuple[Rule, ...] = ()
    decisions: tuple[str, ...] = DECISION_NAMES
    hidden: tuple[int, ...] = (128, 64)
    dropout: float = 0.1
    knots: int = 16
    members: int = 1

    def __post_init__(self) -> None:
        check_types(self, SCORER_FILE)
        if self.members < 1:
            raise ConfigError(
                f"members must be 1 or more, however: {self.members}; change it in {SCORER_FILE}"
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(
                f"dropout must be at least 0 and below 1, however: {self.dropout}; "
                f"change it in {SCORER_FILE}"
            )
        if not isinstance(self.hidden, tuple) or any(not _is_width(each) for each in self.hidden):
            raise ConfigError(
                "hidden must be a list of whole numbers above 0, however: "
                f"{self.hidden!r}; change it in {SCORER_FILE}"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it, which has the shared entities in a place apart."""
        return {name: value for name, value in asdict(self).items() if name != "shared"}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ScorerConfig:
        """Read it from TOML. Raises :class:`ConfigError`."""
        check_keys(_names(cls), raw, SCORER_FILE)
        values = dict(raw)
        try:
            values["features"] = tuple(Part.from_dict(each, "name") for each in raw["features"])
            values["cell"] = Part.from_dict(raw["cell"], "family")
            values["reasons"] = tuple(ReasonGroup(**each) for each in raw["reasons"])
            values["omit"] = tuple(map(str, raw.get("omit", ())))
            values["shared"] = tuple(_entity(each) for each in raw.get("shared", ()))
            values |= _decided(raw)
            if "hidden" in raw:
                values["hidden"] = _as_tuple(raw["hidden"])
            return cls(**values)
        except KeyError as error:
            raise ConfigError(f"{SCORER_FILE} must have {error}, however: it is missing") from None
        except TypeError as error:
            raise ConfigError(f"{SCORER_FILE} must be well-formed, however: {error}") from None


def _decided(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Read what a scorer answers and how it decides. Raises :class:`ConfigError`."""
    found: dict[str, Any] = {}
    if "output" in raw:
        found["output"] = Part.from_dict(raw["output"], "kind")
    if "decisions" in raw:
        found["decisions"] = tuple(map(str, raw["decisions"]))
    try:
        found["rules"] = tuple(Rule.from_dict(each) for each in raw.get("rules", ()))
    except BundleError as error:
        raise ConfigError(f"[[rules]] in {SCORER_FILE} must be valid, however: {error}") from None
    return found


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """How a scorer is trained.

    The history's last ``validation_days`` stop the training, calibrate it and set the thresholds.
    The ``label_delay_days`` before them train nothing: their labels would not be known yet. For
    features of shared entities, each label is known that long after its event. The first
    ``warm_up_days`` build up the state and train nothing either.

    Args:
        scorer: what is trained.
        seed: of every random choice.
        warm_up_days, label_delay_days, validation_days: see above.
        validation_share: the share of the accounts that validate instead of the last days, for
            histories in which all accounts have the same period; 0 for the last days. An account
            whose name has a ``~`` is taken for the one whose name stands before it, and only
            teaches.
        epochs: the most passes over the training events.
        patience: stop after this many epochs without a better average precision.
        windows: windows in a batch (:mod:`models.sampling`).
        steps: events of a window; gradients go back no further.
        negatives: the share of the genuine events that is drawn, anew each epoch; those drawn
            weigh its inverse, so that the scores stay probabilities.
        learning_rate, weight_decay: of AdamW (Loshchilov & Hutter, 2019, arXiv:1711.05101).
        rise: the share of the steps over which the learning rate rises, before its cosine fall.
        clip: the largest norm of the gradient.
        average: the decay of the moving average of the weights, which is the model that is kept.
        feature_dropout: the share of the features that an account does not see, drawn anew for
            each of its windows.
        label_smoothing, focal: see :func:`models.objective.weighted_loss`.
        calibration_prior: how far the validation period may move the calibration, see
            :func:`models.calibration.fit_platt`; 0 for as far as it likes.
        precision: of the network while it learns (:class:`models.precision.Precision`); weights,
            loss and the model that is kept are float32.
        thresholds_by: how the thresholds are chosen, ``budget`` or ``cost``; for this and the next
            six see :class:`models.thresholds.ThresholdRule` and :class:`models.costs.Costs`.
        review_share: the share of the events that is to be alerted.
        alerts_per_day: how many events are to be alerted in a day instead; 0 for the share.
        decline_precision: the least precision at which an event is declined.
        review_cost: of one review, in the unit of the amounts.
        fraud_loss_share: the share of a fraud's amount that is lost where it is approved.
        decline_cost: of one genuine event that is declined.
        threads: PyTorch's threads; 0 leaves them as they are.
    """

    scorer: ScorerConfig
    seed: int = 0
    warm_up_days: float = 30.0
    label_delay_days: float = 7.0
    validation_days: float = 8.0
    validation_share: float = 0.0
    epochs: int = 10
    patience: int = 3
    windows: int = 512
    steps: int = 8
    negatives: float = 0.25
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    rise: float = 0.15
    clip: float = 1.0
    average: float = 0.99
    feature_dropout: float = 0.0
    label_smoothing: float = 0.0
    focal: float = 0.0
    calibration_prior: float = 0.0
    precision: str = AUTO
    thresholds_by: str = BUDGET
    review_share: float = 0.005
    alerts_per_day: float = 0.0
    decline_precision: float = 0.9
    review_cost: float = _COSTS.review_cost
    fraud_loss_share: float = _COSTS.fraud_loss_share
    decline_cost: float = _COSTS.decline_cost
    threads: int = 0

    def __post_init__(self) -> None:
        check_types(self, TRAINING_FILE)
        for names, (holds, rule) in _RULES.items():
            for name in names:
                if not holds(getattr(self, name)):
                    raise ConfigError(
                        f"{name} must be {rule}, however: {getattr(self, name)}; "
                        f"change it in {TRAINING_FILE}"
                    )
        _ = self.threshold_rule

    @property
    def threshold_rule(self) -> ThresholdRule:
        """How the thresholds are chosen. Raises :class:`ConfigError`."""
        return ThresholdRule(
            by=self.thresholds_by,
            review_share=self.review_share,
            alerts_per_day=self.alerts_per_day,
            decline_precision=self.decline_precision,
            costs=Costs(self.review_cost, self.fraud_loss_share, self.decline_cost),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as the manifest holds it."""
        return {**asdict(self), "scorer": self.scorer.to_dict()}

    def changed(self, **settings: Any) -> TrainConfig:
        """Return it with other settings. Raises :class:`ConfigError` for an unknown one."""
        check_keys(_names(type(self)), settings, "the settings of a training")
        return replace(self, **settings)

    @classmethod
    def family_settings(cls) -> list[str]:
        """Return the names of the settings that a family may have of its own."""
        return [*_names(cls, "scorer"), *NETWORK_SETTINGS, "cell"]

    def with_family(self, family: str, own: Mapping[str, Any] = _NONE) -> TrainConfig:
        """Return it with another family of cell, with that cell's default options.

        Args:
            family: its name.
            own: settings of this family that replace the general ones: of a training, of its
                network (:data:`NETWORK_SETTINGS`), and ``cell``, the options of the cell.

        Raises:
            ConfigError: there is no such family or setting, or one is out of its range.
        """
        check_family(family)
        check_keys(self.family_settings(), own, "the settings of a family")
        usual = self.scorer.cell.options if family == self.scorer.cell.name else {}
        cell = Part(family, _options(own.get("cell", usual)))
        network = {name: _as_tuple(own[name]) for name in NETWORK_SETTINGS if name in own}
        rest = {name: own[name] for name in own if name not in (*NETWORK_SETTINGS, "cell")}
        return replace(self, scorer=replace(self.scorer, cell=cell, **network), **rest)


_POSITIVE = ("epochs", "patience", "windows", "steps", "validation_days", "learning_rate", "clip")

#: What must hold of which settings of a training, and how it is said.
_RULES: dict[tuple[str, ...], tuple[Callable[[Any], bool], str]] = {
    ("negatives", "rise"): (
        lambda value: 0.0 < value <= 1.0,
        "above 0 and at most 1",
    ),
    ("average", "feature_dropout", "label_smoothing", "validation_share"): (
        lambda value: 0.0 <= value < 1.0,
        "at least 0 and below 1",
    ),
    _POSITIVE: (lambda value: value > 0, "above 0"),
    (
        *("warm_up_days", "label_delay_days", "weight_decay", "focal", "threads", "seed"),
        "calibration_prior",
    ): (lambda value: value >= 0, "0 or more"),
    ("precision",): (PRECISIONS.__contains__, f"one of {', '.join(PRECISIONS)}"),
}


def load_train_config(folder: Path, family: str | None = None) -> TrainConfig:
    """Read a pack's ``scorer.toml`` and ``training.toml``.

    Args:
        folder: the pack's.
        family: of the cell; None for the one that ``scorer.toml`` names. What ``training.toml``
            has under ``[families.<family>]`` replaces the general settings.

    Raises:
        ConfigError: a file is missing, is not TOML, or has an unknown or a wrong setting.
    """
    scorer = ScorerConfig.from_dict(read_toml(folder / SCORER_FILE))
    raw = read_toml(folder / TRAINING_FILE)
    own = raw.pop("families", {})
    check_keys([*_names(TrainConfig, "scorer"), "families"], raw, TRAINING_FILE)
    general = TrainConfig(scorer=scorer, **raw)
    families = {name: _of_family(general, name, own[name]) for name in _tables(own)}
    wanted = family or scorer.cell.name
    return families.get(wanted) or general.with_family(wanted)


def _tables(own: Any) -> Mapping[str, Mapping[str, Any]]:
    if isinstance(own, Mapping) and all(isinstance(each, Mapping) for each in own.values()):
        return own
    raise ConfigError(
        f"families in {TRAINING_FILE} must be tables of settings, however: {own!r}; begin each "
        "with a line such as [families.gru]"
    )


def _of_family(general: TrainConfig, family: str, own: Mapping[str, Any]) -> TrainConfig:
    """Return the settings of one family, whether it is the one to be trained or not."""
    try:
        return general.with_family(family, own)
    except ConfigError as error:
        raise ConfigError(
            f"[families.{family}] in {TRAINING_FILE} must be valid, however: {error}"
        ) from None


def _options(raw: Any) -> Mapping[str, Any]:
    if isinstance(raw, Mapping):
        return raw
    raise ConfigError(
        f"cell must be a table of a cell's options, however: {raw!r}; write {{ size = 32 }}"
    )


def _is_width(value: Any) -> bool:
    return type(value) is int and value >= 1


def _as_tuple(raw: Any) -> Any:
    return tuple(raw) if isinstance(raw, list) else raw


def _names(cls: type[Any], without: str = "") -> list[str]:
    return [each.name for each in fields(cls) if each.name != without]


def _entity(raw: Mapping[str, Any]) -> SharedEntity:
    """Read a shared entity, whose times are in hours in TOML. Raises :class:`ConfigError`."""
    try:
        seconds = {f"{name}_s": round(raw[f"{name}_hours"] * 3600) for name in ("bucket", "grace")}
        rest = {name: value for name, value in raw.items() if not name.endswith("_hours")}
        return SharedEntity.from_dict({**rest, **seconds})
    except KeyError as error:
        raise ConfigError(f"[[shared]] must have {error}, however: it is missing") from None
    except BundleError as error:
        raise ConfigError(f"[[shared]] in {SCORER_FILE} must be valid, however: {error}") from None


def read_toml(path: Path) -> dict[str, Any]:
    """Read a file of a pack. Raises :class:`ConfigError` if it is missing or no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"a pack must be a folder with {path.name}, however: {path.parent} has none"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} must be TOML, however: {error}") from None
