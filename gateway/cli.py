"""The `gateway` command. Exit codes: 0 done, 1 refused, 2 misuse."""

import getpass
import json
import os
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway import __version__
from gateway.client import DEFAULT_PREFIX, DEFAULT_URL, Client
from gateway.errors import GatewayError, SettingsError
from gateway.settings import load_settings, unknown_variables

REFUSED, MISUSE = 1, 2

app = typer.Typer(
    help="One server for a Flask app and the FastAPI app that replaces it; endpoints move at run time.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
# A pipe has no width: what reads it wants whole lines.
out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else 240)
err = Console(stderr=True, soft_wrap=True, highlight=False)

Url = Annotated[str, typer.Option(help="The gateway's address.", envvar="GATEWAY_URL", show_envvar=True)]
Prefix = Annotated[str, typer.Option(help="Its control prefix.", envvar="GATEWAY_CONTROL_PREFIX", show_envvar=True)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> None:
    """The console script: turns every expected error into one line and an exit code."""
    try:
        app()
    except SettingsError as exc:
        _fail(str(exc), MISUSE)
    except GatewayError as exc:
        _fail(str(exc), REFUSED)


def _fail(message: str, code: int) -> NoReturn:
    err.print(Text.assemble(("error: ", "bold red"), message))
    raise SystemExit(code)


def _client(url: str, prefix: str) -> Client:
    # Not a flag: command lines are seen by others and kept in histories.
    return Client(url, os.environ.get("GATEWAY_ADMIN_TOKEN"), prefix=prefix)


def _show(document: dict[str, Any], as_json: bool, show: Callable[[dict[str, Any]], None]) -> None:
    if as_json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        show(document)


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        out.print(f"gateway {__version__}")
        raise typer.Exit


@app.command()
def serve(
    legacy: Annotated[str | None, typer.Option(help="The Flask app, as 'package.module:app'.")] = None,
    target: Annotated[str | None, typer.Option(help="The FastAPI app, as 'package.module:app'.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on (default 127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (default 8000; 0 takes a free one).")] = None,
    workers: Annotated[int | None, typer.Option(help="Number of processes (default 1).")] = None,
    store: Annotated[
        str | None, typer.Option(help="Where the plan is kept (default sqlite:///.gateway/plan.db).")
    ] = None,
    legacy_threads: Annotated[int | None, typer.Option(help="Threads for the Flask app (default 40).")] = None,
    access_log: Annotated[bool | None, typer.Option("--access-log/--no-access-log", help="Log each request.")] = None,
) -> None:
    """Run the server. Every other setting is a GATEWAY_* variable or a line of gateway.toml."""
    from gateway.server import serve as run  # imports both frameworks, which no other command needs

    if sys.path[0] != os.getcwd():
        sys.path.insert(0, os.getcwd())
    for variable, hint in unknown_variables(os.environ):
        err.print(f"warning: {variable} is no setting{hint}")
    if "FORWARDED_ALLOW_IPS" in os.environ:
        err.print("warning: FORWARDED_ALLOW_IPS is not read here: name the proxies in GATEWAY_TRUSTED_PROXIES")
    if os.environ.get("SCRIPT_NAME"):
        raise SettingsError(
            "SCRIPT_NAME is set in the environment: gunicorn would cut it off every path, the gateway serves at '/'. "
            "Unset it, and have the proxy in front take the prefix away"
        )
    settings = load_settings(
        legacy=legacy,
        target=target,
        host=host,
        port=port,
        workers=workers,
        store=store,
        legacy_threads=legacy_threads,
        access_log=access_log,
    )
    raise typer.Exit(run(settings))


@app.command()
def endpoints(
    names: Annotated[list[str] | None, typer.Argument(help="Names or patterns, as '* /api/*'; all if none.")] = None,
    url: Url = DEFAULT_URL,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: AsJson = False,
) -> None:
    """What is where: side, stage, traffic."""
    _show(_client(url, prefix).get("/endpoints", match=names), as_json, _show_endpoints)


def _show_endpoints(document: dict[str, Any]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("endpoint", "sides", "stage", "legacy", "async", "errors"):
        table.add_column(column, no_wrap=column != "endpoint", overflow="fold")
    for endpoint in document["endpoints"]:
        sides = "+".join(side for side, key in (("legacy", "legacy"), ("async", "target")) if endpoint[key])
        traffic = [endpoint["traffic"].get(side) for side in ("legacy", "async")]
        errors = sum(served["errors"] for served in traffic if served)
        table.add_row(*map(Text, (endpoint["id"], sides, _stage(endpoint), *map(_served, traffic), str(errors or ""))))
    out.print(table)
    out.print(f"plan version {document['plan_version']}; move one with: gateway stage 'GET /…' canary --percent 5")


def _served(traffic: dict[str, Any] | None) -> str:
    return f"{traffic['requests']} in {traffic['mean_ms']:.1f} ms" if traffic else ""


@app.command()
def stage(
    names: Annotated[
        list[str], typer.Argument(metavar="ENDPOINT... STAGE", help="What to move (patterns too), and where to.")
    ],
    percent: Annotated[float | None, typer.Option(help="For canary: the share of callers.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "",
    actor: Annotated[str | None, typer.Option(help="Who (default: you).", envvar="GATEWAY_ACTOR")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would move.")] = False,
    base_version: Annotated[int | None, typer.Option(help="Refuse if the plan is not at this version.")] = None,
    url: Url = DEFAULT_URL,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: AsJson = False,
) -> None:
    """Move endpoints: to legacy, canary (with --percent) or async."""
    if len(names) < 2:
        _fail("say what to move and where to: gateway stage 'GET /items/{id}' async", MISUSE)
    *what, where = names
    document = {
        "endpoints": what,
        "stage": where,
        "percent": percent,
        "reason": reason,
        "actor": actor or _whoami(),
        "base_version": base_version,
        "dry_run": dry_run,
    }
    _show(_client(url, prefix).post("/stage", document), as_json, _show_moves)


def _show_moves(document: dict[str, Any]) -> None:
    for move in document["moves"]:
        out.print(Text(f"{move['endpoint']}: {_stage(move['before'])} -> {_stage(move['after'])}"))
    for name, why in document["skipped"].items():
        out.print(Text(f"{name}: left where it is: {why}"))
    if document["unchanged"]:
        out.print(f"already there: {len(document['unchanged'])}")
    if document["dry_run"]:
        out.print(f"Dry run: nothing was moved; {len(document['moves'])} would. Leave out --dry-run to move them.")
    else:
        out.print(f"{len(document['moves'])} moved; plan version {document['plan_version']}.")


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many changes.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only versions below this one.")] = None,
    url: Url = DEFAULT_URL,
    prefix: Prefix = DEFAULT_PREFIX,
    as_json: AsJson = False,
) -> None:
    """Who moved what, when and why, newest first."""
    _show(_client(url, prefix).get("/history", limit=limit, before=before), as_json, _show_history)


def _show_history(document: dict[str, Any]) -> None:
    for change in document["changes"]:
        reason = f"  {change['reason']}" if change["reason"] else ""
        when = change["at"][:19].replace("T", " ") + " UTC"
        out.print(Text.assemble((f"{change['version']:>4}", "bold"), f"  {when}  {change['actor']}{reason}"))
        for move in change["moves"]:
            out.print(Text(f"      {move['endpoint']}: {_stage(move['before'])} -> {_stage(move['after'])}"))
    if not document["changes"]:
        out.print("nothing was moved yet")


def _stage(placement: dict[str, Any]) -> str:
    return str(placement["stage"]) if placement["percent"] is None else f"canary {placement['percent']:g} %"


def _whoami() -> str:
    with suppress(OSError, KeyError):
        return f"{getpass.getuser()}@{socket.gethostname()}"
    return "unknown"
