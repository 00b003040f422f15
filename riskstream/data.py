"""``riskstream data check`` and ``riskstream data draft``: your own files."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import pyarrow.parquet as pq
import typer
from rich.text import Text

from engine.errors import ConfigError, HistoryError
from models.config import load_train_config
from models.packs.hold_out import hold_out as hold_out_accounts
from models.packs.registry import find_pack, load_schema
from riskstream.histories import open_history
from riskstream.options import (
    DEFAULT_PACK,
    EXIT_FAILED,
    ConfigOption,
    FieldOption,
    JsonOption,
    make_folder,
    out,
    parse_fields,
    parse_time,
    print_json,
    settings_of,
    writable,
)

if TYPE_CHECKING:
    from models.datacheck import Finding, Report

app = typer.Typer(help="Look at a file of your own before you train on it.", no_args_is_help=True)

_STYLE = {"ok": "green", "warning": "yellow", "problem": "bold red"}

PackOption = Annotated[
    str, typer.Option("--pack", "-p", help="The pack to train on it: fraud, or a pack's folder.")
]


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    pack: PackOption = DEFAULT_PACK,
    until: Annotated[
        str | None, typer.Option(help="Where training is to end, as for train (ISO 8601, UTC).")
    ] = None,
    start: Annotated[
        str | None,
        typer.Option("--from", help="Where the test begins, as for evaluate (ISO 8601, UTC)."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option("--report", help="Write the findings as a page (.html).")
    ] = None,
    field: FieldOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    r"""Find what would hurt in a file before hours are spent on it.

    Looks for rows that cannot be read, duplicates, gaps in time, labels that are
    not known yet, columns that tell the label, drift, and accounts that are not
    what they seem. Ends with 1 if there is a problem. --report needs the extra
    riskstream\[train].

    [bold]Examples[/bold]

      riskstream data check transactions.parquet --report check.html

      riskstream data check wallets.csv --pack ./my-pack --until 2026-06-01

      riskstream data check raw.csv -f amount=TX_AMOUNT --json | jq .findings
    """
    _check_report(report)
    folder = find_pack(pack)
    training = load_train_config(folder)
    until_ms, from_ms = parse_time("--until", until), parse_time("--from", start)
    history = open_history(file, load_schema(folder), settings_of(config, None, field))
    from models.datacheck import Severity
    from models.datacheck import check as check_file

    found = check_file(file, history, training, time.time_ns() // 1_000_000, until_ms, from_ms)
    if report is not None:
        _write(report, found)
    if json:
        print_json(found.to_dict())
    else:
        _print(found, report)
    if found.worst is Severity.PROBLEM:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def prepare(
    pack: Annotated[str, typer.Argument(help="A pack that knows the raw file, or its folder.")],
    file: Annotated[Path, typer.Argument(help="The raw file.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The .parquet file of events.")],
    training: Annotated[
        bool, typer.Option("--training", help="Add what a training needs, where the pack does.")
    ] = False,
    hold_out: Annotated[
        float | None,
        typer.Option(
            "--hold-out",
            help="Keep this share of the accounts apart, in *-held-out.parquet, to judge on.",
        ),
    ] = None,
    json: JsonOption = False,
) -> None:
    r"""Turn a raw file that a pack knows into a file of its events.

    Every other command takes that file. Needs the extra riskstream\[train].

    [bold]Examples[/bold]

      riskstream data prepare credit raw.parquet --training -o months.parquet

      riskstream data prepare credit raw.parquet --hold-out 0.2 -o months.parquet

      riskstream data prepare market closes.parquet -o bars.parquet
    """
    from models.packs.code import load_code, running

    _check_prepare(output, hold_out)
    folder = find_pack(pack)
    make = load_code(folder).prepare
    if make is None:
        raise ConfigError(
            f"a pack must have a function `prepare` to prepare a file, however: {pack} has none; "
            "give the file itself to the other commands"
        )
    if not file.is_file():
        raise HistoryError(f"the raw file must be a file, however: {file} is none")
    with running("prepare", file.name):
        table = make(file, training)
    files = {output: table}
    if hold_out is not None:
        account = load_schema(folder).account.path
        rest, held = hold_out_accounts(table, account, hold_out)
        files = {output: rest, output.with_name(f"{output.stem}-held-out.parquet"): held}
    for each, events in files.items():
        with writable("--out", each):
            pq.write_table(events, each, compression="zstd")
    if json:
        told = [{"events": events.num_rows, "out": str(each)} for each, events in files.items()]
        print_json(told[0] if len(told) == 1 else {**told[0], "held_out": told[1]})
        return
    for each, events in files.items():
        out.print(f"{events.num_rows:,} events, into {each}")


@app.command()
def draft(
    file: Annotated[Path, typer.Argument(help="A .parquet, .csv or .jsonl file.")],
    output: Annotated[Path, typer.Option("--out", "-o", help="The new pack's folder.")],
    name: Annotated[str | None, typer.Option(help="The pack's name; the folder's if none.")] = None,
    field: FieldOption = None,
) -> None:
    """Write the draft of a pack for a file: its schema, scorer and training.

    Guesses from names and values which column is the account, the time, the
    amount, the label and so on. Read what it wrote, correct it, and train on it.

    [bold]Examples[/bold]

      riskstream data draft wallets.csv --out my-pack

      riskstream data draft wallets.csv -o my-pack -f account=wallet -f fraud=bad
    """
    from models.draft import draft_pack

    drafted = draft_pack(file, name or output.resolve().name, parse_fields(field))
    there = sorted(each for each in drafted.files if (output / each).exists())
    if there:
        raise ConfigError(
            f"--out must be a new pack's folder, however: {output / there[0]} is there already; "
            "name another, or remove it"
        )
    make_folder("--out", output)
    for each, text in drafted.files.items():
        (output / each).write_text(text, encoding="utf-8")
    width = max(len(column) for column, _, _ in drafted.choices)
    for column, role, why in drafted.choices:
        out.print(f"  {column:<{width}}  {role:<12}  {why}", markup=False)
    out.print(f"{output}: {', '.join(drafted.files)}; read them, then")
    out.print(f"  riskstream data check {file} --pack {_shown(output)}", markup=False)
    out.print(f"  riskstream train {_shown(output)} --data {file} --out BUNDLE", markup=False)


def _check_prepare(output: Path, hold_out: float | None) -> None:
    """Check the options of ``prepare``. Raises :class:`ConfigError`."""
    if output.suffix != ".parquet":
        raise ConfigError(f"--out must end in .parquet, however: {output}; name it so")
    if hold_out is not None and not 0.0 < hold_out < 1.0:
        raise ConfigError(f"--hold-out must be a share above 0 and below 1, however: {hold_out:g}")


def _shown(folder: Path) -> str:
    """Return a folder as the name of a pack: with a slash, so that no pack's name is meant."""
    return str(folder) if "/" in str(folder) else f"./{folder}"


def _check_report(report: Path | None) -> None:
    """Check that a page can be made and written. Raises :class:`ConfigError`."""
    if report is None:
        return
    missing = [name for name in ("jinja2", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"--report must have the extra train, however: {missing[0]} is not installed; "
            "pip install 'riskstream[train]'"
        )
    if report.suffix != ".html":
        raise ConfigError(f"--report must end in .html, however: {report}")
    make_folder("the folder of --report", report.parent)


def _write(path: Path, report: Report) -> None:
    from models.datacheck.page import page

    with writable("--report", path):
        path.write_text(page(report).html(), encoding="utf-8")


def _print(report: Report, page: Path | None) -> None:
    out.print(f"[bold]{report.name}[/]: {report.rows:,} rows, {report.events:,} events")
    for part in report.parts:
        out.print(f"\n[bold]{part.title}[/]")
        for finding in part.findings:
            _print_finding(finding)
    counts = {str(each): report.count(each) for each in type(report.worst)}
    told = f"\nproblems: {counts['problem']:,}, warnings: {counts['warning']:,}"
    out.print(told + (f"; all figures are in {page}" if page else ""))


def _print_finding(finding: Finding) -> None:
    mark = Text(f"  {finding.severity:<9}", style=_STYLE[finding.severity])
    out.print(mark + Text(finding.found, style=""))
    if finding.advice:
        out.print(Text(f"{'':<11}→ {finding.advice}", style="dim"))
