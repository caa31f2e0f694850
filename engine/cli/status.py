"""`engine status`: what a ledger holds, by outcome."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from engine.cli.console import printable, sentences
from engine.cli.endpoints import state_file
from engine.cli.settings import load, options
from engine.config import RunConfig
from engine.ledger.schema import LedgerView
from engine.types import Outcome

MEANING = {
    Outcome.PENDING: "listed, not yet tagged",
    Outcome.OUTBOX: "tagged, results still to be delivered",
    Outcome.DONE: "results delivered, or none to deliver",
    Outcome.FAILED: "cannot be read or decoded",
    Outcome.REJECTED: "results refused for good",
    Outcome.SKIPPED: "no pictures",
}
PARTLY = "This is the part of the catalogue that was listed so far: no run has come to its end yet, more is to come."
WHOLLY = "The whole catalogue was last listed on {:%Y-%m-%d at %H:%M}; what came later is not counted."


@options(RunConfig, "state", "segment_url", "library", "db", "json_output")
def status(
    reasons: Annotated[int, typer.Option(help="Show so many failed and rejected media with their reasons.")] = 10,
    config: Annotated[Path | None, typer.Option(help="A settings file; engine.toml here by default.")] = None,
    flags: Mapping[str, Any] = {},
) -> None:
    with sentences():
        settings = load(RunConfig, flags, config)
        with LedgerView(state_file(settings)) as view:
            counts = view.counts()
            shown = {o.value: view.reasons(o, reasons) for o in (Outcome.FAILED, Outcome.REJECTED)}
            refused, examples, listed = view.count_refused(), view.refused(reasons), view.listed()
        if settings.json_output:
            media = {
                outcome: [{"id": i, "storageUrl": url, "reason": reason} for i, url, reason in rows]
                for outcome, rows in shown.items()
            }
            ledger = {o.value: n for o, n in counts.items()}
            when = None if listed is None else datetime.fromtimestamp(listed, UTC).isoformat(timespec="seconds")
            known = {"ledger": ledger, "catalogue_listed": when, "refused_records": refused}
            typer.echo(json.dumps({**known, **media}, ensure_ascii=False))
            return
        if refused:
            shown[f"{refused:,} single records refused by the API"] = examples
        _print(counts, listed, shown)


def _print(
    counts: Mapping[Outcome, int], listed: float | None, shown: Mapping[str, list[tuple[int, str, str]]]
) -> None:
    console = Console()
    table = Table(box=None, show_header=False)
    for outcome, count in counts.items():
        table.add_row(outcome.value, f"{count:,}", f"[dim]{MEANING[outcome]}")
    console.print(table)
    console.print(PARTLY if listed is None else WHOLLY.format(datetime.fromtimestamp(listed)), soft_wrap=True)
    for heading, rows in shown.items():
        if rows:
            console.print(f"\n{heading}:")
        for number, what, reason in rows:
            console.print(f"  {number}  {printable(what)}: {reason}", markup=False, highlight=False, soft_wrap=True)
