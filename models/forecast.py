"""Training a scorer that forecasts what the account's next event will bring: its quantiles.

There are no labels: the target of an event is a column of the account's next event, which the
answer names (:class:`models.answers.quantiles.Quantiles`). Epochs are those of
:class:`models.learner.Learner`; the loss is the quantiles' pinball losses, the likelihood of the
volatility and that of the probability of a rise, each by the security's volatility so far.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.columns import Columns
from engine.decisions import Thresholds
from engine.errors import ConfigError, HistoryError
from engine.schema import Schema
from models.answers.quantiles import LEVELS, Quantiles
from models.checkpoint import Checkpoint
from models.config import TrainConfig
from models.data import Histories, account_hashes, by_account, feature_table, walks
from models.fitting import Fitting
from models.learner import Learner, Material, encode
from models.periods import DAY_MS, Bounds, Periods
from models.processes import ALONE, Processes
from models.progress import Progress
from models.scorer import Scorer
from models.training import TrainedScorer, first_events, what_it_ran_on

#: What each level's pinball loss weighs: about as much as the others, though tails lose little.
_WEIGHTS = (6.0, 2.0, 0.3, 2.0, 6.0)
#: What the two likelihoods weigh beside them.
_OF_VOLATILITY, _OF_RISE = 0.3, 0.05
#: The degrees of freedom of Student's t, of which the volatility's likelihood is.
_FREEDOM = 5.0
_SAMPLE = 100_000
_WIDE, _LONG = 1024, 64

_SILENT = Progress()


def train_forecast(
    columns: Columns,
    schema: Schema,
    config: TrainConfig,
    progress: Progress = _SILENT,
    checkpoint: Checkpoint | None = None,
    processes: Processes = ALONE,
) -> TrainedScorer:
    """Train a scorer on a history.

    Args:
        columns: ``n`` events sorted by time.
        schema: of these events.
        config: what is trained, and how.
        progress: is told how far it is.
        checkpoint: what is kept after each epoch, and gone on from; None for nothing.
        processes: this one and those that train the same model with it.

    Raises:
        ConfigError, SchemaError: the scorer cannot be built, its answer is no quantiles, or the
            checkpoint is of another training.
        HistoryError: the history is not sorted or too short.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    scorer = Scorer(schema, config.scorer)
    histories = by_account(account_hashes(columns, schema))
    unknown = np.full(len(columns), np.nan, dtype=np.float32)
    table = feature_table(scorer, columns, histories, unknown, 0, progress.features)
    target = targets(scorer, table.columns, histories)
    periods = split(columns.event_time_ms, histories, target.numpy(), config)
    fresh = torch.from_numpy(~table.duplicate)
    material = Material(histories, table.columns, fresh, target, periods)
    fit_scales(scorer, material, config.seed)
    learner = ForecastLearner(scorer, material, config, processes)
    fitting = Fitting(learner, progress, checkpoint)
    best = fitting.run()
    return TrainedScorer(
        scorer=best,
        schema=schema,
        config=config,
        thresholds=Thresholds(1.0, 1.0),
        facts=_facts(columns, periods, histories) | what_it_ran_on(learner),
        metrics=fitting.best_figures,
        validation=None,
        sample=first_events(best, columns, histories),
    )


def targets(scorer: Scorer, columns: Tensor, histories: Histories) -> Tensor:
    """Return what the account's next event brings, float32 ``[n]``; NaN where there is none.

    Args:
        scorer: whose answer says what is forecast.
        columns: float32 ``[n, f]``.
        histories: the rows by account.
    """
    answer = quantiles_of(scorer)
    value, given = (columns[:, _place(scorer, each)] for each in (answer.of, answer.has))
    order = torch.from_numpy(histories.order)
    account = torch.from_numpy(histories.account)[order]
    after = torch.roll(order, -1)
    follows = account == torch.roll(account, -1)
    follows[-1] = False
    found = torch.full((len(columns),), math.nan)
    has_next = follows & (given[after] > 0.0)
    found[order[has_next]] = value[after[has_next]]
    return found


def quantiles_of(scorer: Scorer) -> Quantiles:
    """Return a scorer's answer. Raises :class:`ConfigError` where it is no quantiles."""
    if not isinstance(scorer.answer, Quantiles):
        raise ConfigError(
            "a forecast must be of quantiles, however: the scorer's [output] is "
            f"{scorer.config.output.name!r}"
        )
    return scorer.answer


def split(
    times_ms: NDArray[np.int64],
    histories: Histories,
    target: NDArray[np.float32],
    config: TrainConfig,
) -> Periods:
    """Cut a history by time; a target that lies in the validation trains nothing.

    Raises:
        HistoryError: the history is not sorted, or a period has no event with a target.
    """
    if len(times_ms) == 0 or (np.diff(times_ms) < 0).any():
        raise HistoryError("a history must be sorted by time and not empty; sort it by event time")
    bounds = Bounds.of(int(times_ms[0]), int(times_ms[-1]), config)
    next_ms = np.empty_like(times_ms)
    next_ms[histories.order] = np.roll(times_ms[histories.order], -1)
    known = ~np.isnan(target)
    training = known & (times_ms >= bounds.train_from) & (next_ms < bounds.train_until)
    validation = known & (times_ms >= bounds.validate_from)
    for name, period in (("training", training), ("validation", validation)):
        if not period.any():
            raise HistoryError(
                f"the {name} period must have events with a next one, however: it has none; give "
                "a longer history, or change warm_up_days or validation_days in training.toml"
            )
    return Periods(training, validation)


def fit_scales(scorer: Scorer, material: Material, seed: int) -> None:
    """Set the encoding and the reference, the columns' medians, from training events."""
    rows = np.flatnonzero(material.periods.training)
    rng = np.random.default_rng(seed)
    sample = material.columns[rng.choice(rows, min(_SAMPLE, len(rows)), replace=False)].numpy()
    scorer.encoder.fit(sample)
    scorer.reference.copy_(torch.from_numpy(np.median(sample, axis=0)))


class ForecastLearner(Learner):
    """See the module's docstring. The material's labels are the targets.

    Args:
        scorer, material, config, processes: see :class:`models.learner.Learner`.
    """

    def __init__(
        self,
        scorer: Scorer,
        material: Material,
        config: TrainConfig,
        processes: Processes = ALONE,
    ) -> None:
        super().__init__(scorer, material, config, processes)
        self.answer = quantiles_of(scorer)
        scale = material.columns[:, _place(scorer, self.answer.scale)]
        self.scale, self.truth = (each.to(processes.device) for each in (scale, material.labels))

    def drawn(self, rng: np.random.Generator) -> Tensor:
        """See :meth:`models.learner.Learner.drawn`: every training event weighs the same."""
        return torch.from_numpy(self.material.periods.training).float() * self.material.fresh

    def loss(self, made: Tensor, rows: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """See :meth:`models.learner.Learner.loss`."""
        scale, truth = self.scale[rows, None], self.truth[rows, None]
        each = forecast_loss(self.answer, made.float(), scale, truth)
        return (each.mean(1) * weight).sum() / total

    def figures(self) -> dict[str, float]:
        """Return the average's figures on the validation events."""
        validation = torch.from_numpy(self.material.periods.validation)
        away = self.material.labels[validation, None] - self._quantiles(validation)
        losses = pinball(away).mean(0)
        names = [f"pinball_{round(level * 100):02d}" for level in LEVELS]
        return dict(zip(names, (losses * self.answer.unit).tolist(), strict=True)) | {
            "below_05": float((away[:, 1] < 0).float().mean()),
            "below_01": float((away[:, 0] < 0).float().mean()),
        }

    def worth(self, figures: Mapping[str, float]) -> float:
        """See :meth:`models.learner.Learner.worth`: the losses of the two lowest levels."""
        return -(4.0 * figures["pinball_01"] + figures["pinball_05"])

    def _quantiles(self, wanted: Tensor) -> Tensor:
        """Return the average's quantiles of the events that are wanted, ``[v, 5]``, on the CPU."""
        scorer, material, device = self.averaged, self.material, self.processes.device
        encoded = encode(scorer, material.columns, device)
        made = torch.zeros(len(wanted), len(LEVELS))
        with torch.inference_mode():
            for walk in walks(material.histories, _WIDE, _LONG):
                h = torch.zeros(0)
                for chunk in walk:
                    h = h if len(h) else torch.zeros(len(chunk.rows), scorer.cell.state_size)
                    valid = (chunk.valid & material.fresh[chunk.rows]).to(device)
                    inputs, h = scorer.encoded_sequence(
                        encoded[chunk.rows.to(device)], h.to(device), valid
                    )
                    chosen = chunk.valid & wanted[chunk.rows]
                    rows = chunk.rows[chosen]
                    raw = scorer.head(inputs[chosen.to(device)])
                    scale = self.scale[rows.to(device), None]
                    made[rows] = self.answer.distribution(raw, scale)[0].cpu()
        return made[wanted]


def pinball(away: Tensor) -> Tensor:
    """Return the pinball losses (Koenker & Bassett, 1978) of ``truth - quantile``, ``[..., 5]``."""
    levels = torch.tensor(LEVELS, device=away.device)
    return torch.maximum(levels * away, (levels - 1.0) * away)


def forecast_loss(answer: Quantiles, made: Tensor, scale: Tensor, truth: Tensor) -> Tensor:
    """Return the loss of each event and member, ``[m, members]``.

    Args:
        answer: reads what the head gives.
        made: that, ``[m, members, 7]``.
        scale, truth: ``[m, 1]``.
    """
    unit = scale[..., None]
    quantiles, volatility = answer.distribution(made, unit)
    truth = truth[..., None]
    losses = pinball((truth - quantiles) / unit) @ torch.tensor(_WEIGHTS, device=made.device)
    relative = volatility / unit
    square = (truth / unit) ** 2 / (relative**2 * ((_FREEDOM - 2.0) / _FREEDOM))
    likelihood = torch.log(relative) + (_FREEDOM + 1.0) / 2.0 * torch.log1p(square / _FREEDOM)
    rises = (truth > 0.0).float().expand_as(made[..., 6:7])
    rise = nn.functional.binary_cross_entropy_with_logits(made[..., 6:7], rises, reduction="none")
    return losses + (_OF_VOLATILITY * likelihood + _OF_RISE * rise)[..., 0]


def _place(scorer: Scorer, name: str) -> int:
    return [each.name for each in scorer.outputs].index(name)


def _facts(columns: Columns, periods: Periods, histories: Histories) -> dict[str, Any]:
    times = columns.event_time_ms
    facts: dict[str, Any] = {
        "events": len(columns),
        "accounts": len(histories.lengths),
        "first_event_ms": int(times[0]),
        "last_event_ms": int(times[-1]),
    }
    for name, period in (("training", periods.training), ("validation", periods.validation)):
        own = times[period]
        facts[name] = {
            "from_ms": int(own[0]),
            "to_ms": int(own[-1]),
            "events": int(period.sum()),
            "days": round((int(own[-1]) - int(own[0])) / DAY_MS),
        }
    return facts
