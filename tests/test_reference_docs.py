"""Parts of the documentation that repeat the code, kept equal to it.

`python -m tests.test_reference_docs` writes them all into their pages; with a name, it prints one.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import click
import pytest

from app.cli import commands
from app.conformance.remedies import ALB, CADDY, CLOUDFLARE, HAPROXY, NGINX, REMEDIES, TRAEFIK
from app.core.errors import CATALOGUE

DOCS = Path(__file__).resolve().parent.parent / "docs"
# The faults that `doctor` finds, in words.
FAULTS = {
    "buffering": "streams are buffered",
    "read_timeout": "streams end too early",
    "compression": "streams are compressed",
    "last_event_id": "`Last-Event-ID` is lost",
    "authorization": "`Authorization` is lost",
    "host": "`Host` is changed",
    "forwarded_proto": "the scheme is unknown",
    "body_size": "bodies are refused as too large",
    "connections": "connections are refused",
    "upstream": "the proxy answers 502 or 504",
    "cache_control": "`Cache-Control` is changed",
    "sub_path": "the path prefix is unknown",
    "error_pages": "error pages replace answers",
    "methods": "methods are refused",
    "cache": "answers are cached",
    "query": "the query is lost",
    "request_rate": "requests are refused as too many",
    "head_size": "headers are refused as too large",
    "content_filter": "a filter refuses messages",
    "chunked": "bodies without a length are refused",
    "static_files": "`/static/` shows other files",
    "cors": "CORS headers are changed",
    "clock": "the clocks differ",
    "redirect": "requests are redirected",
    "plain_http": "there is no TLS",
    "certificate": "the certificate is refused",
}


def errors() -> str:
    rows = [f"| `{code}` | {status} | {title} |" for code, (status, title) in CATALOGUE.items()]
    return "\n".join(["| Code | Status | Meaning |", "|---|---|---|", *rows])


def cli() -> str:
    return "\n\n".join(_command(name, command) for name, command in sorted(commands.commands.items()))


def _command(name: str, command: click.Command) -> str:
    context = click.Context(command, info_name=f"belfry {name}")
    usage = command.get_usage(context).removeprefix("Usage: ")
    records = [each.get_help_record(context) for each in command.params if isinstance(each, click.Option)]
    options = [record for record in records if record]
    rows = [f"| `{_cell(option)}` | {_cell(told)} |" for option, told in options]
    table = ["", "| Option | Meaning |", "|---|---|", *rows] if rows else []
    text = " ".join((command.help or "").replace("\b", "").split())  # click's mark for lines that stay as they are
    return "\n".join([f"## {name}", "", f"`{' '.join(usage.split())}`", "", text.replace("*", "\\*"), *table])


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*")


def remedies(proxy: str) -> str:
    rows = [f"| {FAULTS[fault]} | {_cell(lines[proxy])} |" for fault, lines in REMEDIES.items()]
    return "\n".join(["| Fault | Change |", "|---|---|", *rows])


PARTS: Mapping[str, tuple[str, str, Callable[[], str]]] = {
    "errors": ("errors.md", "errors", errors),
    "cli": ("cli.md", "cli", cli),
    "nginx": ("proxies/nginx.md", "remedies", lambda: remedies(NGINX)),
    "caddy": ("proxies/caddy.md", "remedies", lambda: remedies(CADDY)),
    "traefik": ("proxies/traefik.md", "remedies", lambda: remedies(TRAEFIK)),
    "haproxy": ("proxies/haproxy.md", "remedies", lambda: remedies(HAPROXY)),
    "alb": ("proxies/alb.md", "remedies", lambda: remedies(ALB)),
    "cloudflare": ("proxies/cloudflare.md", "remedies", lambda: remedies(CLOUDFLARE)),
}


def filled(name: str) -> str:
    """The page as it should be."""
    page, mark, made = PARTS[name]
    text = (DOCS / page).read_text(encoding="utf-8")
    part = f"<!-- {mark} -->\n{made()}\n<!-- /{mark} -->"
    return re.sub(rf"<!-- {mark} -->.*<!-- /{mark} -->", lambda _: part, text, flags=re.DOTALL)


@pytest.mark.parametrize("name", PARTS)
def test_the_page_repeats_the_code(name: str) -> None:
    page = DOCS / PARTS[name][0]
    assert filled(name) == page.read_text(encoding="utf-8"), f"python -m tests.test_reference_docs writes {page.name}"


def test_every_fault_of_a_proxy_has_a_name() -> None:
    assert list(FAULTS) == list(REMEDIES)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(PARTS[sys.argv[1]][2]())
    else:
        for part in PARTS:
            (DOCS / PARTS[part][0]).write_text(filled(part), encoding="utf-8")
