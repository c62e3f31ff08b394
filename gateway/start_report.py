"""What the gateway says when it has started: what is on which side, where it is, and what to try."""

import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.app import Gateway
from gateway.client import DEFAULT_PREFIX, DEFAULT_URL
from gateway.endpoints import Endpoint
from gateway.plan import Placement


def print_start_report(gateway: Gateway, address: str | None = None) -> None:
    """The table of endpoints, then the URL if the address is known, to stderr: stdout belongs to the apps."""
    console = Console(stderr=True, soft_wrap=True, highlight=False, width=None if sys.stderr.isatty() else 240)
    placements = gateway.follower.plan.placements
    console.print(endpoint_rows([(e, e.placement(placements)) for e in gateway.table.endpoints.values()]))
    for note in _notes(gateway):
        console.print(Text(f"- {note}"))
    if address is None:
        return
    url = f"http://{address}"
    version = gateway.follower.plan.version
    console.print(Text.assemble("Gateway ready: open ", (url, "bold"), f" (plan version {version})"))
    if gateway.settings.environment == "development":
        for line in _what_to_try(gateway, url):
            console.print(Text(line))


def _what_to_try(gateway: Gateway, url: str) -> Iterator[str]:
    """Commands to copy. The token is printed for development alone: logs are kept, and read by many."""
    command = "gateway" if shutil.which("gateway") == sys.argv[0] else os.path.relpath(sys.argv[0])
    both = [endpoint.id for endpoint in gateway.table.endpoints.values() if endpoint.route and endpoint.has_legacy]
    yield "To try, in another terminal:"
    yield f"  export GATEWAY_ADMIN_TOKEN={gateway.settings.token}"
    if url != DEFAULT_URL:
        yield f"  export GATEWAY_URL={url}"
    if gateway.settings.control_prefix != DEFAULT_PREFIX:
        yield f"  export GATEWAY_CONTROL_PREFIX={gateway.settings.control_prefix}"
    yield f"  {command} endpoints"
    for name in both[:1]:
        yield f"  {command} stage '{name}' canary --percent 50 --reason 'first look'"
    yield f"  {command} history"


def endpoint_rows(placed: list[tuple[Endpoint, Placement]]) -> Table:
    """Endpoints with what either side has for them, as a terminal table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("endpoint", "legacy", "async", "stage"):
        table.add_column(column, no_wrap=column == "stage", overflow="fold")
    for endpoint, placement in placed:
        legacy = endpoint.rule.prefix + endpoint.rule.text if endpoint.rule else "?" if endpoint.presumed else "-"
        target = endpoint.route.template.typed() if endpoint.route else "-"
        table.add_row(*map(Text, (endpoint.id, legacy, target, str(placement))))
    return table


def _notes(gateway: Gateway) -> list[str]:
    table = gateway.table
    kinds = Counter(_kind(endpoint) for endpoint in table.endpoints.values())
    notes = [f"{len(table.endpoints)} endpoints: " + ", ".join(f"{number} {kind}" for kind, number in kinds.items())]
    if table.legacy is not None:
        if wrappers := table.legacy.wrappers:
            notes.append(f"around the Flask app, and not run for what the async side answers: {', '.join(wrappers)}")
        if opaque := table.legacy.opaque_apps():
            notes.append(f"shows no routes, so each async endpoint counts as its until moved: {', '.join(opaque)}")
    for overlap in table.overlaps:
        notes.append(f"{overlap.path}: declared to be the {overlap.owner} side's ('{overlap.endpoint.id}')")
    orphans = sorted(set(gateway.follower.plan.placements) - set(table.endpoints))
    if orphans:
        notes.append(f"in the plan, but on neither side any more: {', '.join(orphans)}")
    return notes


def _kind(endpoint: Endpoint) -> str:
    if endpoint.route is None:
        return "only on the legacy side"
    return "on both sides" if endpoint.has_legacy else "only on the async side"
