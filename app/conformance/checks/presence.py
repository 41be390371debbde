"""Who is connected, and how the server ends a connection."""

from __future__ import annotations

from typing import Final

from ..check import Group
from ..probe import Probe
from ..verdict import SkippedError, expect, expect_status

GROUP: Final = Group("presence")
LIFE_SECONDS: Final = 2


@GROUP.check("feed", "publish")
def shown(probe: Probe) -> None:
    """Who is connected is shown as online, and not any more after hanging up."""
    if not probe.credentials.separate:
        raise SkippedError("needs the secret: the user of a given token may be connected elsewhere")
    with probe.stream() as stream:
        stream.ready()
        expect(_is_online(probe), "online while connected", "offline")
    still = probe.look_until(lambda: _is_online(probe), lambda online: not online)
    expect(not still, f"offline within {probe.options.patience:g} s of hanging up", "online")


@GROUP.check("feed", "admin")
def dismissed(probe: Probe) -> None:
    """A connection that an administrator ends is told so."""
    if not probe.credentials.separate:
        raise SkippedError("needs the secret: it would end all connections of the token's user")
    with probe.stream() as stream:
        stream.ready()
        expect_status(probe.ask("DELETE", f"/presence/{probe.user}", "admin"), 204)
        stream.expect_goodbye("disconnected")


@GROUP.check("admin")
def revoked(probe: Probe) -> None:
    """A token that is withdrawn ends its stream within seconds, and opens none any more."""
    token = probe.credentials.sign(probe.user, "feed", token_id=f"{probe.prefix}token")
    with probe.stream(token=token) as stream:
        stream.ready()
        answer = probe.ask("POST", "/admin/revocations", "admin", json={"token_id": f"{probe.prefix}token"})
        expect_status(answer, 200)
        stream.expect_goodbye("revoked")
    probe.expect_withdrawn(token)


@GROUP.check()
def expired(probe: Probe) -> None:
    """A stream ends with its token, and says so."""
    token = probe.credentials.sign(probe.user, "feed", seconds=LIFE_SECONDS)
    with probe.stream(token=token, seconds=LIFE_SECONDS) as stream:
        stream.ready()
        stream.expect_goodbye("expired", probe.options.patience + LIFE_SECONDS)


@GROUP.check("feed", "publish", "admin")
def forgotten(probe: Probe) -> None:
    """A user who is forgotten has no feed any more, and no token."""
    token = probe.credentials.sign(probe.user, "feed")
    probe.send(0)
    expect_status(probe.ask("DELETE", f"/users/{probe.user}", "admin"), 204)
    probe.expect_withdrawn(token)
    probe.forget_sent()


def _is_online(probe: Probe) -> bool:
    users = probe.get("/presence", "publish", users=probe.user)["users"]
    return bool(users[probe.user]["online"])
