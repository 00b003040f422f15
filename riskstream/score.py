"""``riskstream score``: a file of events straight through the core, without Kafka."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import typer

from engine.columns import Reject
from engine.errors import BundleError, ConfigError
from engine.hashing import event_ids
from engine.history import History
from engine.manifest import Manifest
from engine.offline import ScoredBatch
from riskstream.histories import Period, Scoring, labels_of, open_history, score_history
from riskstream.options import (
    BundleOption,
    ConfigOption,
    FieldOption,
    FromOption,
    JsonOption,
    LabelsDelayOption,
    UntilOption,
    load_bundle,
    out,
    parse_duration,
    print_json,
    settings_of,
    tell_unused_labels,
    writable,
)


def score(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    output: Annotated[
        Path, typer.Option("--out", "-o", help="Where the scores go (.parquet).")
    ] = Path("scores.parquet"),
    rejects: Annotated[
        Path | None, typer.Option(help="Where events that cannot be scored go (.jsonl).")
    ] = None,
    labels_delay: LabelsDelayOption = None,
    features: Annotated[
        bool, typer.Option("--features", help="Write the features' values beside the scores.")
    ] = False,
    start: FromOption = None,
    until: UntilOption = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    bundle: BundleOption = None,
    json: JsonOption = False,
) -> None:
    """Score a history without Kafka or Redis: the same scores as the stream gives.

    With --labels-delay each score knows the labels that were known at its event,
    as in a stream whose labels come so late. Without it no label is known.

    [bold]Examples[/bold]

      riskstream score transactions.parquet --out scores.parquet

      riskstream score transactions.parquet --labels-delay 7d --features

      riskstream score raw.csv -f amount=TX_AMOUNT --rejects rejects.jsonl --json
    """
    _check_paths({"the history": file, "--out": output, "--rejects": rejects})
    settings = settings_of(config, bundle, field)
    loaded = load_bundle(settings)
    how = Scoring(parse_duration("--labels-delay", labels_delay), features)
    history = open_history(file, loaded.manifest.schema, settings, Period(start, until))
    if how.label_delay_ms is not None:
        labels_of(history, file, "a history for --labels-delay")
        tell_unused_labels(loaded)
    names = _features_of(loaded.manifest) if features else ()
    with _Results(output, rejects, history, names, loaded.manifest) as results:
        for chunk, batch in score_history(history, loaded, settings, how):
            results.add(batch, chunk.values)
    results.report(json, output)


def _features_of(manifest: Manifest) -> Sequence[str]:
    """Return the names of a model's features. Raises :class:`engine.errors.BundleError`."""
    if not manifest.features:
        raise BundleError(
            f"--features must have a bundle that names its features, however: {manifest.name} "
            f"{manifest.version} names none; make it again with this version of riskstream"
        )
    return manifest.features


def _check_paths(paths: Mapping[str, Path | None]) -> None:
    """Check that no file would overwrite another. Raises :class:`engine.errors.ConfigError`."""
    given = [(name, path) for name, path in paths.items() if path is not None]
    for (first, path), (second, other) in combinations(given, 2):
        if _is_same(path, other):
            raise ConfigError(
                f"{second} must be another file than {first}, however: both are {path}"
            )


def _is_same(path: Path, other: Path) -> bool:
    if path.exists() and other.exists():
        return path.samefile(other)
    return path.resolve() == other.resolve()


class _Results:
    """The scores of a history, written as they come."""

    def __init__(
        self,
        output: Path,
        rejects: Path | None,
        history: History,
        features: Sequence[str],
        manifest: Manifest,
    ) -> None:
        self._output, self._rejects_path, self._history = output, rejects, history
        self._features = features
        self._outputs, self._names = manifest.outputs, manifest.decisions
        self._writer: pq.ParquetWriter | None = None
        self._rejects: BinaryIO | None = None
        self._files = ExitStack()
        self._decisions: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._start = 0
        self._began_s = time.monotonic()

    def __enter__(self) -> _Results:
        with ExitStack() as files:
            if self._rejects_path is not None:
                with writable("--rejects", self._rejects_path):
                    self._rejects = files.enter_context(self._rejects_path.open("wb"))
            with writable("--out", self._output):
                self._writer = pq.ParquetWriter(self._output, self._schema())
            files.callback(self._writer.close)
            self._files = files.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def add(self, batch: ScoredBatch, values: list[bytes]) -> None:
        """Write one batch."""
        columns, scored = batch.columns, batch.scored
        decisions = [self._names[each] for each in scored.decisions.tolist()]
        table = {
            "score_id": event_ids("score", columns.accounts, columns.event_ids),
            "event_id": columns.event_ids,
            "account": columns.accounts,
            "event_time": pa.array(columns.event_time_ms, pa.timestamp("ms", "UTC")),
            "score": scored.scores,
            "decision": decisions,
            "duplicate": scored.duplicate,
            "late": scored.late,
        }
        if self._history.labels is not None:
            table["label"] = self._history.labels[self._start + columns.rows]
        if scored.outputs is not None:
            table |= dict(zip(self._outputs, scored.outputs.T, strict=True))
        if scored.features is not None:
            table |= dict(zip(self._features, scored.features.T, strict=True))
        if self._writer is not None:
            self._writer.write_table(pa.table(table, schema=self._schema()))
        self._decisions.update(decisions)
        for reject in batch.rejects:
            self._reject(reject, values[reject.row])
        self._start += len(values)

    def report(self, json: bool, output: Path) -> None:
        """Print what came of the history."""
        seconds = time.monotonic() - self._began_s
        scored = sum(self._decisions.values())
        if json:
            print_json(
                {
                    "events": self._start,
                    "scored": scored,
                    "decisions": dict(self._decisions),
                    "rejects": {str(reason): n for reason, n in self._reasons.items()},
                    "seconds": round(seconds, 3),
                    "out": str(output),
                }
            )
            return
        out.print(f"{scored:,} events scored in {seconds:,.1f} s, into {output}")
        for decision in self._names:
            out.print(f"  {decision:<10}{self._decisions[decision]:>12,}")
        for reason, count in self._reasons.most_common():
            out.print(f"  not scored: {reason:<18}{count:>12,}")

    def _reject(self, reject: Reject, value: bytes) -> None:
        self._reasons[reject.reason] += 1
        if self._rejects is not None:
            line = {
                "row": self._start + reject.row,
                "reason": reject.reason,
                "detail": reject.detail,
                "event": value.decode("utf-8", "replace"),
            }
            self._rejects.write(orjson.dumps(line) + b"\n")

    def _schema(self) -> pa.Schema:
        fields: list[Any] = [
            ("score_id", pa.string()),
            ("event_id", pa.string()),
            ("account", pa.string()),
            ("event_time", pa.timestamp("ms", "UTC")),
            ("score", pa.float32()),
            ("decision", pa.string()),
            ("duplicate", pa.bool_()),
            ("late", pa.bool_()),
        ]
        if self._history.labels is not None:
            fields.append(("label", pa.float32()))
        fields += [(name, pa.float32()) for name in (*self._outputs, *self._features)]
        return pa.schema(fields)
