"""The list of models: every upstream's own, each once, and an outage hides none that is known."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import gevent
import pytest

from app.core.errors import BelfryError
from app.core.settings import Settings
from app.core.upstreams import Upstreams
from app.live.runs import models as module
from app.live.runs.models import Models
from app.live.runs.upstream_client import UpstreamClients
from tests.servers import HOST, free_port
from tests.upstream import Upstream, refusing, running_upstream


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


def models_of(*named: dict[str, Any], url: str = "", key: str = "") -> Models:
    settings = Settings(upstreams=json.dumps(named), upstream_url=url, upstream_key=key)
    return Models(UpstreamClients(settings), Upstreams(settings))


def ids(models: Models) -> list[str]:
    return [model["id"] for model in models.all()]


def test_an_upstreams_list_passes_through(upstream: Upstream) -> None:
    upstream.models = [{"id": "a", "object": "model", "made_up": [1]}, {"id": "b/c"}]
    models = models_of(url=upstream.url)
    assert models.all() == upstream.models
    assert models.named("b/c") == {"id": "b/c"}
    with pytest.raises(BelfryError, match="model_unknown"):
        models.named("c")


def test_each_model_is_the_upstreams_that_serves_it(upstream: Upstream) -> None:
    upstream.models = [{"id": "gpt-4o", "of": "second"}, {"id": "llama", "of": "second"}, {"id": "o1", "of": "second"}]
    first = {"url": f"http://{HOST}:{free_port()}/v1", "models": ["gpt-4o", "o1"]}
    models = models_of(first, url=upstream.url).all()
    assert [(model["id"], model.get("of")) for model in models] == [("gpt-4o", None), ("o1", None), ("llama", "second")]


def test_a_pattern_lists_what_it_fits(upstream: Upstream) -> None:
    upstream.models = [{"id": "gpt-4o"}, {"id": "embedding"}]
    assert ids(models_of({"url": upstream.url, "models": ["gpt-*", "own"]})) == ["gpt-4o", "own"]


def test_an_upstream_whose_models_are_all_named_is_not_asked(upstream: Upstream) -> None:
    assert ids(models_of({"url": upstream.url, "models": ["a"]})) == ["a"]
    assert upstream.asked == []


def test_the_list_is_kept_and_those_who_ask_together_share_it(upstream: Upstream) -> None:
    models = models_of(url=upstream.url)
    asking = [gevent.spawn(ids, models) for _ in range(20)]
    gevent.joinall(asking, raise_error=True)
    assert [greenlet.value for greenlet in asking] == [["m"]] * 20
    assert upstream.asked == ["/v1/models"]


def test_an_outage_hides_nothing_that_was_told_before(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    models = models_of(url=upstream.url)
    assert ids(models) == ["m"]
    upstream.models = None
    assert ids(models) == ["m"]
    assert len(upstream.asked) == 2


def test_one_upstream_that_tells_nothing_hides_no_other(upstream: Upstream) -> None:
    upstream.models = None
    assert ids(models_of({"url": upstream.url, "models": ["a", "gpt-*"]})) == ["a"]
    with pytest.raises(BelfryError, match="upstream_unreachable"):
        models_of(url=upstream.url).all()
    with pytest.raises(BelfryError, match="upstream_unreachable"):
        models_of(url=f"http://{HOST}:{free_port()}/v1").all()


def test_without_an_upstream_the_list_is_empty() -> None:
    assert models_of().all() == []


def test_an_upstream_that_lists_nothing_has_no_models(upstream: Upstream) -> None:
    upstream.models = []
    assert models_of(url=upstream.url).all() == []


def test_the_key_changes_nothing_in_the_list(upstream: Upstream) -> None:
    upstream.models = [{"id": "ollama/m"}]
    assert models_of(url=upstream.url, key="ollama").all() == [{"id": "ollama/m"}]


def trouble_of(**upstream: Any) -> str:
    (found,) = models_of(upstream).troubles()
    assert found["upstream"] == upstream["url"]
    return found["trouble"]


class TestTroubles:
    """Each upstream is looked at, whether or not it has to list its models."""

    def test_an_upstream_that_answers_has_none(self, upstream: Upstream) -> None:
        assert trouble_of(url=upstream.url) == ""
        assert trouble_of(url=upstream.url, models=["a"]) == ""
        assert upstream.conversations == []

    @pytest.mark.parametrize("status", [400, 422, 500])
    def test_an_upstream_without_a_list_is_asked_for_nothing(self, upstream: Upstream, status: int) -> None:
        upstream.models = None
        upstream.play = refusing(status, {"error": {"message": "messages are missing"}})
        assert trouble_of(url=upstream.url, models=["a"]) == ""
        (conversation,) = upstream.conversations
        assert (conversation.path, conversation.raw) == ("/v1/chat/completions", b"{}")

    @pytest.mark.parametrize("models", [["*"], ["a"]])
    def test_one_that_nobody_reaches_is_told(self, models: list[str]) -> None:
        assert "can't be reached" in trouble_of(url=f"http://{HOST}:{free_port()}/v1", models=models)

    @pytest.mark.parametrize(
        ("status", "body"),
        [(404, b'{"detail":"Not Found"}'), (405, b""), (401, b'{"error":"bad key"}'), (200, b"<html>Sign in</html>")],
    )
    def test_a_wrong_address_or_key_is_told(self, upstream: Upstream, status: int, body: bytes) -> None:
        upstream.models = None
        upstream.play = refusing(status, body)
        assert f"/chat/completions with {status}" in trouble_of(url=upstream.url, models=["a"])

    def test_an_address_that_lacks_v1_is_told(self, upstream: Upstream) -> None:
        upstream.lists_at = "/v1/models"
        upstream.play = refusing(404, b"")
        assert "lacks /v1" in trouble_of(url=upstream.url.removesuffix("/v1"), models=["a"])

    def test_one_in_trouble_hides_no_other(self, upstream: Upstream) -> None:
        lost = {"url": f"http://{HOST}:{free_port()}/v1", "models": ["a"]}
        first, second = models_of(lost, url=upstream.url).troubles()
        assert (bool(first["trouble"]), second["trouble"]) == (True, "")


def test_the_line_at_the_start_does_not_call_a_lost_upstream_there(caplog: pytest.LogCaptureFixture) -> None:
    models = models_of({"url": f"http://{HOST}:{free_port()}/v1", "models": ["a"]})
    with caplog.at_level(logging.INFO, "belfry.models"):
        models.start()
        with gevent.Timeout(60):
            while not caplog.records:
                gevent.sleep(0.01)
    (line,) = [record for record in caplog.records if record.name == "belfry.models"]
    assert (line.levelname, "can't be reached" in line.getMessage()) == ("WARNING", True)
