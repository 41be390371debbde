"""Runs checks against a deployment and reports. Checks with users of their own run concurrently."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Final

import requests

from .check import Check
from .credentials import Credentials
from .deployment import Deployment
from .probe import Options, Probe
from .remedies import fault_of, proxy_of, remedy
from .report import FAILED, OK, SKIPPED, Report, Result
from .verdict import FailedError, SkippedError, told

LOCATION_SHOWN: Final = 200  # characters of an address that a report repeats
CLOCK_SECONDS: Final = 30.0
MISDIRECTED: Final = 421  # the demo's answer to a Host of others
AT_A_TIME: Final = 4  # a dozen connections at most: nothing that a deployment in use would feel


class UnreachableError(Exception):
    """Nothing could be checked: no server there, or one that refuses the credentials as such."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Checks, and everything they need to know."""

    url: str
    credentials: Credentials
    options: Options
    checks: Sequence[Check]
    at_a_time: int = AT_A_TIME

    def run(self, show: Callable[[Result], None]) -> Report:
        """Every check, each result shown as soon as those before it are known. Raises `UnreachableError`."""
        proxy = self.reach()
        started = time.monotonic()
        results = []
        for result in self._results(proxy):
            show(result)
            results.append(result)
        known = self._forget() if self.options.forget else len(self.credentials.made)
        return Report(self.url, results, time.monotonic() - started, known)

    def _forget(self) -> int:
        """Have every user that the run made forgotten; the number of those that could not be."""
        deployment = Deployment(self.url, self.options.patience)
        try:
            return sum(not self._is_forgotten(deployment, user) for user in self.credentials.made)
        finally:
            deployment.close()

    def _is_forgotten(self, deployment: Deployment, user: str) -> bool:
        try:
            return deployment.ask("DELETE", f"/users/{user}", self._token(user, "admin")).status_code == 204
        except requests.RequestException:
            return False

    def reach(self) -> str:
        """The proxy on the way, if it says so. Raises `UnreachableError` where all checks would fail for one reason."""
        deployment = Deployment(self.url, self.options.patience)
        try:
            return self._expect_welcome(deployment)
        except requests.RequestException as error:
            raise UnreachableError(f"no answer from {self.url}: {_reason(error)}{_mended(_fault_of(error))}") from None
        except ValueError as error:
            raise UnreachableError(str(error)) from None
        finally:
            deployment.close()

    def _expect_welcome(self, deployment: Deployment) -> str:
        """Read a feed and write to it, by a message that is not kept, as far as there are tokens for it.

        Answers the proxy.
        """
        user = self.credentials.user()
        reader, publisher = self._token(user, "feed"), self._token(user, "publish")
        answers = [deployment.ask("GET", "/feed", reader, params={"limit": 1})]
        if reader and publisher:
            answers.append(deployment.ask("POST", "/publish", publisher, json={"to": user, "transient": True}))
        self._expect_belfry(answers[0])
        for answer in answers:
            if reader and answer.status_code in {401, 403} and answer.text.startswith("{"):
                fix = _mended(_fault_of_refusal(answer), proxy_of(answer.headers))
                raise UnreachableError(f"{self.url} refuses the credentials: {told(answer)}{fix}{_clocks(answer)}")
        return proxy_of(answers[0].headers)

    def _expect_belfry(self, answer: requests.Response) -> None:
        """Raises `UnreachableError` where a proxy answers everything by itself, or another server stands there."""
        proxy = proxy_of(answer.headers)
        if answer.is_redirect:
            to = answer.headers["Location"][:LOCATION_SHOWN]
            fix = _mended("redirect", proxy)
            raise UnreachableError(f"{self.url} redirects to {to}: give that address if Belfry is there{fix}")
        if answer.status_code == MISDIRECTED:
            raise UnreachableError(f"{self.url}: {told(answer)}{_mended('host', proxy)}")
        text = answer.text.lstrip()
        if text.startswith("{") or answer.status_code in {429, 503}:
            return  # a check finds the limit
        if "plain HTTP request" in text:  # nginx's own word
            raise UnreachableError(f"{self.url} speaks https: give the address with https://")
        fault = "redirect" if answer.status_code in {401, 403} else "upstream"
        raise UnreachableError(f"{self.url} is not answered by Belfry: {told(answer)}{_mended(fault, proxy)}")

    def _token(self, user: str, scope: str) -> str:
        try:
            return self.credentials.token(user, scope)
        except SkippedError:
            return ""

    def _results(self, proxy: str) -> Iterator[Result]:
        with ThreadPoolExecutor(self.at_a_time if self.credentials.separate else 1) as pool:
            yield from pool.map(partial(self._result, proxy), self.checks)

    def _result(self, proxy: str, check: Check) -> Result:
        probe = Probe(self.url, self.credentials, self.options)
        started = time.monotonic()
        outcome, fields = self._outcome(check, probe)
        fault = fields.pop("fault", "")
        if fault:
            fields["fix"] = remedy(fault, proxy)
        seconds = round(time.monotonic() - started, 3)
        return Result(check.name, check.promise, outcome, seconds, left=probe.close(), **fields)

    @staticmethod
    def _outcome(check: Check, probe: Probe) -> tuple[str, dict[str, str]]:
        try:
            for scope in check.scopes:
                probe.token(scope)
            return OK, {"note": check.trial(probe) or ""}
        except SkippedError as reason:
            return SKIPPED, {"note": str(reason)}
        except FailedError as failure:
            fault = failure.fault or fault_of(check.name)
            return FAILED, {"expected": failure.expected, "got": failure.got, "fault": fault}
        except requests.RequestException as error:
            held = isinstance(error, requests.ReadTimeout) and check.name.startswith(("proxy.", "stream."))
            fault = "buffering" if held else ""
            return FAILED, {
                "fault": fault,
                "expected": f"an answer within {probe.options.patience:g} s",
                "got": _reason(error),
            }
        except (KeyError, TypeError, IndexError, json.JSONDecodeError) as error:
            # A check takes what it needs out of an answer; what isn't there is the deployment's fault.
            return FAILED, {"expected": "an answer of the documented form", "got": f"{type(error).__name__}: {error}"}


def _mended(fault: str, proxy: str = "") -> str:
    """Return the end of a sentence that names what mends `fault`; empty if the fault is not known."""
    return f"; to mend it: {remedy(fault, proxy)}" if fault else ""


def _fault_of(error: requests.RequestException) -> str:
    """Return the likely fault of a connection that was not made."""
    if not isinstance(error, requests.exceptions.SSLError):
        return ""
    return "certificate" if "CERTIFICATE_VERIFY_FAILED" in str(error) else "plain_http"


def _fault_of_refusal(answer: requests.Response) -> str:
    """Return the likely fault of a refused credential that is known to be good."""
    if "token_missing" in answer.text:
        return "authorization"
    return "clock" if "token_expired" in answer.text else ""


def _clocks(answer: requests.Response) -> str:
    """Return how far the clock of the server is from this machine's, if that may be the reason of a refusal."""
    try:
        ahead = parsedate_to_datetime(answer.headers["Date"]).timestamp() - time.time()
    except (KeyError, ValueError):
        return ""
    return f" (the answer's Date differs from the clock here by {ahead:+.0f} s)" if abs(ahead) > CLOCK_SECONDS else ""


def _reason(error: Exception) -> str:
    text = str(error)
    cause = text.partition("(Caused by ")[2]  # urllib3 puts it behind the address, where it would be cut off
    return f"{type(error).__name__}: {(cause.removesuffix(')') or text)[:200]}"
