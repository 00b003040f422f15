"""Judge the market pack's bundle on 2015 to 2022, beside GARCH and historical simulation.

    python benchmarks/market_test.py --data sp500-20-stocks-daily.parquet --out market-test

The bundle scores every bar since 1990 through the engine; the returns from ``--from`` on are
judged. GARCH(1,1) and GJR-GARCH(1,1,1), both with Student's t, are fitted anew by the package arch
at the beginning of each year, on all of the security's returns before it; historical simulation
takes the quantiles of the last 250 returns.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
import pyarrow.parquet as pq
from arch import arch_model
from arch.univariate.base import ARCHModelResult
from numpy.typing import NDArray

from engine.bundle import Bundle
from engine.history import History
from models.packs.market.figures import LEVELS, SecurityFigures, Summary
from models.packs.market.prepare import bars
from models.packs.market.report import Forecasts, comparison, forecasts, report
from models.packs.registry import pack_folder
from riskstream.histories import Scoring
from riskstream.options import out, parse_time
from riskstream.pack_evaluation import scored_history
from riskstream.page_view import print_page
from streams.settings import Settings

Floats: TypeAlias = NDArray[np.floating[Any]]

_WINDOW = 250
#: A fit whose forecast is this many times the variance of its returns has not converged.
_MOST_VARIANCE = 400.0


def fitted(returns: Floats, last: int, leverage: int, before: Any) -> tuple[Any, Any]:
    """Return a model of returns with the parameters fitted on those before ``last``.

    Where a fit does not converge it is begun once more at the year's before, whose parameters are
    taken where that does not help.

    Args:
        returns: in percent, up to the end of the year that is forecast.
        last: how many of them are known.
        leverage: 1 for the GJR term, else 0.
        before: the parameters of the year before; None in the first.
    """
    model = arch_model(returns, mean="Constant", vol="GARCH", p=1, o=leverage, q=1, dist="t")
    for start in (None, before):
        result: ARCHModelResult = model.fit(
            last_obs=last, disp="off", show_warning=False, starting_values=start
        )
        found = model.fix(result.params, last_obs=len(returns))
        variance = np.asarray(found.conditional_volatility)[last:] ** 2
        sound = np.isfinite(variance).all() and variance.max() < _MOST_VARIANCE * returns.var()
        if result.convergence_flag == 0 and sound:
            return result.params, model
        if before is None:
            break
    return (result.params if before is None else before), model


def garch(returns: Floats, years: NDArray[np.int64], first: int, leverage: int) -> Floats:
    """Return the quantiles of each return ``[n, 5]`` in percent; NaN before the year ``first``."""
    found = np.full((len(returns), len(LEVELS)), np.nan)
    before = None
    for year in range(first, int(years[-1]) + 1):
        rows = np.flatnonzero(years == year)
        before, model = fitted(returns[: rows[-1] + 1], int(rows[0]), leverage, before)
        fixed = model.fix(before, last_obs=int(rows[-1]) + 1)
        scale = np.asarray(fixed.conditional_volatility)[rows][:, None]
        z = model.distribution.ppf(np.array(LEVELS), [before["nu"]])
        found[rows] = before["mu"] + scale * z
    return found


def simulated(returns: Floats, years: NDArray[np.int64], first: int) -> Floats:
    """Return the quantiles of the last 250 returns before each."""
    found = np.full((len(returns), len(LEVELS)), np.nan)
    for at in np.flatnonzero(years >= first).tolist():
        found[at] = np.quantile(returns[at - _WINDOW : at], LEVELS)
    return found


def baselines(
    raw: Path, judged: Mapping[str, Forecasts], first: int
) -> Iterator[tuple[str, Summary]]:
    """Yield the name of each baseline and its figures on the days that are judged."""
    table = pq.read_table(raw)
    days = np.array([str(each)[:10] for each in table["Date"].to_pylist()], dtype="datetime64[D]")
    years = days.astype("datetime64[Y]").astype(np.int64)[1:] + 1970
    kinds = {
        "GARCH(1,1)-t": lambda values: garch(values, years, first, 0),
        "GJR-GARCH(1,1,1)-t": lambda values: garch(values, years, first, 1),
        "historical simulation, 250 days": lambda values: simulated(values, years, first),
    }
    for name, quantiles in kinds.items():
        each = []
        for security, own in judged.items():
            returns = 100.0 * np.diff(np.log(table[security].to_numpy()))
            here = np.isin(days[1:], own.time_ms.astype("datetime64[ms]").astype("datetime64[D]"))
            made = quantiles(returns)[here] / 100.0
            each.append(SecurityFigures.of(security, made, returns[here] / 100.0))
        yield name, Summary.of(each)


def main() -> None:
    """Judge, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("market-test"))
    parser.add_argument("--bundle", type=Path, default=pack_folder("market") / "bundle")
    parser.add_argument("--from", dest="start", default="2015-01-01")
    parser.add_argument("--until", default="2023-01-01")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    bundle = Bundle.load(args.bundle)
    file = args.out / "bars.parquet"
    pq.write_table(bars(args.data, training=False), file)
    until = parse_time("--until", args.until)
    history = History.open(file, bundle.manifest.schema, None, until)
    start = parse_time("--from", args.start) or 0
    scored = scored_history(history, bundle, Settings(), Scoring(), start, args.data.name)
    told, own = report(scored), {each.security: each for each in forecasts(scored)}
    figures = [SecurityFigures.of(n, each.quantiles, each.returns) for n, each in own.items()]
    models = {f"{bundle.manifest.name} {bundle.manifest.version}": Summary.of(figures)}
    warnings.simplefilter("ignore")
    models |= dict(baselines(args.data, own, int(args.start[:4])))
    told.page.section("Beside GARCH", table=comparison(models))
    every = {**told.figures, "models": {name: each.to_dict() for name, each in models.items()}}
    (args.out / "figures.json").write_bytes(orjson.dumps(every, option=orjson.OPT_INDENT_2))
    (args.out / "report.html").write_text(told.html(), encoding="utf-8")
    print_page(told.without_figures(), out)


if __name__ == "__main__":
    main()
