"""Tabs as they are in a person's window: one is seen, the others are hidden, and those may be frozen.

Playwright keeps every page of its own visible and focused. So these tabs are made and driven past it, over Chromium's
DevTools protocol, in a browser context that Playwright doesn't know.
"""

from __future__ import annotations

import json
import time
from typing import Any

from playwright.sync_api import Browser, CDPSession

from tests.browsing import CONNECTED_SECONDS
from tests.servers import Belfry
from tests.waiting import patient, wait_until

ANSWER_SECONDS = 30.0  # only a test that fails waits so long


class NoAnswerError(AssertionError):
    """A tab did not do what it was told."""


class Window:
    """One window of a browser in which `user` is signed in."""

    def __init__(self, browser: Browser, belfry: Belfry, user: str) -> None:
        self._session: CDPSession = browser.new_browser_cdp_session()
        self._context = self._session.send("Target.createBrowserContext")["browserContextId"]
        self._url = belfry.url
        self._answers: dict[int, dict[str, Any]] = {}
        self._asked = 0
        self._session.on("Target.receivedMessageFromTarget", self._on_message)
        with belfry.api() as api:
            api.post("/login", data={"name": user}, allow_redirects=False)
            cookies = [{"name": each.name, "value": each.value, "url": belfry.url} for each in api.cookies]
        self._session.send("Storage.setCookies", {"cookies": cookies, "browserContextId": self._context})

    def tab(self, script: str = "", path: str = "/", feed: str = "#feed") -> BackgroundTab:
        """Another tab, in front, with its feed connected; `script` runs before those of the page."""
        target = {"url": "about:blank", "browserContextId": self._context}
        opened = self._session.send("Target.createTarget", target)["targetId"]
        tab = BackgroundTab(self, self._session.send("Target.attachToTarget", {"targetId": opened})["sessionId"], feed)
        tab.send("Page.enable")
        tab.send("Page.addScriptToEvaluateOnNewDocument", source=script)
        tab.send("Page.navigate", url=self._url + path)
        wait_until(tab.is_live, CONNECTED_SECONDS, what="the feed")
        wait_until(lambda: not tab.is_hidden, what="the new tab to be in front")
        return tab

    def cover(self) -> None:
        """Another tab in front, empty: all others are hidden."""
        self._session.send("Target.createTarget", {"url": "about:blank", "browserContextId": self._context})

    def permit(self, name: str, setting: str) -> None:
        """What the user answers when a page asks: `granted` or `denied`."""
        asked = {"permission": {"name": name}, "setting": setting, "origin": self._url}
        self._session.send("Browser.setPermission", {**asked, "browserContextId": self._context})

    def close(self) -> None:
        self._session.send("Target.disposeBrowserContext", {"browserContextId": self._context})
        self._session.detach()

    def send(self, session: str, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """Call `method` in a tab; answers its result."""
        self._asked += 1
        asked = self._asked
        message = json.dumps({"id": asked, "method": method, "params": parameters})
        self._session.send("Target.sendMessageToTarget", {"sessionId": session, "message": message})
        began = time.monotonic()
        while asked not in self._answers:
            if time.monotonic() - began > patient(ANSWER_SECONDS):
                raise NoAnswerError(f"no answer to {method} within {patient(ANSWER_SECONDS)} s")
            self._session.send("Browser.getVersion")  # events come in only while something is awaited
        answer = self._answers.pop(asked)
        if "error" in answer:
            raise NoAnswerError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _on_message(self, event: dict[str, Any]) -> None:
        message = json.loads(event["message"])
        if "id" in message:
            self._answers[message["id"]] = message


class BackgroundTab:
    """One tab of a `Window`."""

    def __init__(self, window: Window, session: str, feed: str) -> None:
        self._window = window
        self._session = session
        self._feed = f"document.querySelector('{feed}')"

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._window.send(self._session, method, parameters)

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, which may be a promise. Not while the tab is frozen."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def show(self) -> None:
        """Bring it to the front; whichever was there is hidden."""
        self.send("Page.bringToFront")
        wait_until(lambda: not self.is_hidden)

    def freeze(self) -> None:
        """As the browser does with tabs that were hidden for some minutes: nothing of it runs any more."""
        self.send("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        self.send("Page.setWebLifecycleState", state="active")

    @property
    def is_hidden(self) -> bool:
        return bool(self.evaluate("document.hidden"))

    def is_live(self) -> bool:
        """Whether its feed is connected. A call that meets a navigation fails: the page isn't there yet."""
        try:
            return self.state == "live"
        except NoAnswerError:
            return False

    @property
    def state(self) -> str:
        return str(self.evaluate(f"{self._feed}?.client?.state"))

    @property
    def unread(self) -> int:
        return int(self.evaluate(f"{self._feed}.unread"))

    @property
    def toasts(self) -> int:
        """How many toasts it shows."""
        return int(self.evaluate(f"{self._feed}.shadowRoot.querySelectorAll('.toast').length"))

    @property
    def leads(self) -> bool:
        """Whether it has an open stream of its own. Needs `WATCH_STREAMS`."""
        return bool(self.evaluate("streams.some((stream) => stream.readyState < 2)"))

    def expect_titles(self, *titles: str) -> None:
        shown = f"[...{self._feed}.shadowRoot.querySelectorAll('article h3')].map((title) => title.textContent)"
        wait_until(lambda: self.evaluate(shown) == list(titles), ANSWER_SECONDS, what=f"the messages {titles}")
