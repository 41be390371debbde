"""Each thing that can happen to clients and on their way: they come back, and nobody else notices."""

from __future__ import annotations

import pytest

from tests.conftest import absent
from tests.faults import client_faults
from tests.faults.conftest import Strike
from tests.faults.network import Network
from tests.servers import Nginx

VANISH = "clients vanish"
NGINX = "nginx is reloaded"

pytestmark = pytest.mark.timeout(180)  # limits within tell more than this one


@pytest.mark.parametrize("name", [name for name in client_faults.FAULTS if name not in (VANISH, NGINX)])
def test_nothing_is_lost_while(strike: Strike, name: str) -> None:
    verdict = strike(client_faults.FAULTS[name], workers=2)
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_nothing_is_lost_while_clients_vanish(strike: Strike) -> None:
    if obstacle := Network.obstacle():
        absent(obstacle)
    verdict = strike(client_faults.FAULTS[VANISH], workers=2, BELFRY_WRITE_TIMEOUT_SECONDS="1")
    assert verdict.kept, verdict
    assert verdict.resets == 0


def test_nothing_is_lost_while_nginx_is_reloaded(strike: Strike) -> None:
    if Nginx.binary() is None:
        absent("nginx")
    verdict = strike(client_faults.FAULTS[NGINX], workers=2, behind_nginx=True)
    assert verdict.kept, verdict
    assert verdict.resets == 0
