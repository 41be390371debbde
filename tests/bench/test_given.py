"""Peers whose program is named: how they are configured and spoken to; Pushpin, where it is installed, for real."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest
from click.testing import CliRunner

from bench.__main__ import main
from bench.given import Centrifugo, Mercure, Pushpin, given
from bench.load import Requests
from bench.process import Process
from bench.rounds import measured
from bench.scenarios import Scenario, fan_out, suite
from tests.conftest import program


def body_of(requests: Requests) -> str:
    assert requests.publish is not None
    return requests.publish.partition("\n\n")[2].replace("{mark}", "@@0:1:1@@").replace("{user}", "u0")


def test_only_those_that_were_named_are_measured() -> None:
    assert [server.name for server in given(pushpin="a", mercure="b")] == ["mercure", "pushpin"]
    assert given() == []


@pytest.mark.needs("cc")
def test_a_program_that_is_not_there_is_told_before_anything_is_measured(tmp_path: Path) -> None:
    arguments = ["--rounds", "0", "--centrifugo", "no-such-program", "--out", str(tmp_path)]
    assert "Centrifugo is left out: there is no program no-such-program" in CliRunner().invoke(main, arguments).output


def test_centrifugos_configuration_has_its_key_and_port() -> None:
    server = Centrifugo("centrifugo", "Centrifugo", program="centrifugo", port=4711)
    process = Process(["centrifugo"])
    server.configured(process, "centrifugo.json", {"KEY": server.key})
    written = json.loads((process.folder / "centrifugo.json").read_text())
    process.stop()
    assert (written["http_server"]["port"], written["http_api"]["key"]) == (4711, server.key)
    requests = server.requests(users=1, prefix="u")
    assert f"X-API-Key: {server.key}\n" in (requests.publish or "")
    assert json.loads(body_of(requests))["channel"] == "u0"


def test_mercures_publisher_has_a_token_of_the_hubs_key() -> None:
    server = Mercure("mercure", "Mercure", program="mercure", port=4711)
    process = Process(["mercure"])
    server.configured(process, "mercure.caddyfile", {"KEY": server.key})
    written = (process.folder / "mercure.caddyfile").read_text()
    process.stop()
    assert f"publisher_jwt {server.key}" in written
    assert "http://:4711 {" in written
    requests = server.requests(users=1, prefix="u")
    token = (requests.publish or "").partition("Bearer ")[2].partition("\n")[0]
    assert jwt.decode(token, server.key, ["HS256"])["mercure"] == {"publish": ["*"]}
    assert body_of(requests).startswith("topic=https://example.com/u0&data={")


def test_litellm_is_asked_for_completions_alone() -> None:
    (server,) = given(litellm="litellm")
    able = [scenario.name for scenario in suite() if scenario.suits(server)]
    assert able == ["completions"]


def test_what_pushpin_sends_is_an_event() -> None:
    requests = Pushpin("pushpin", "Pushpin", program="pushpin").requests(users=1, prefix="u")
    (item,) = json.loads(body_of(requests))["items"]
    content = item["formats"]["http-stream"]["content"]
    assert (item["channel"], content[:6], content[-2:]) == ("u0", "data: ", "\n\n")
    assert json.loads(content[6:])["title"] == "Order shipped"


@pytest.mark.nightly
def test_pushpin_is_measured_as_it_is_installed() -> None:
    """Nightly, because only this test needs Pushpin and its eleven packages."""
    scenario = Scenario("fan", fan_out(10, 5), kind="fan-out")
    found = measured(given(pushpin=program("pushpin")), [scenario], 1, say=print)
    assert found.failures == {}
    assert found.results["pushpin"]["fanout_10_per_s"][0]
