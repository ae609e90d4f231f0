"""Fixtures of several files here: the seam to the upstream, and a rate card."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.rate_cards import CARD, written
from tokenbalance.wire.upstream import Upstream, UpstreamAddress, open_upstream
from tokenbalance.wire.upstream.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.upstream import ScriptedUpstream


@pytest.fixture
async def sending(upstream: ScriptedUpstream) -> AsyncIterator[Upstream]:
    async with open_upstream(UpstreamAddress(base_url=upstream.base_url, api_key="sk")) as sending:
        yield sending


@pytest.fixture
def connections(sending: Upstream) -> Connections:
    client = sending._client
    assert isinstance(client, Connections)
    return client


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return written(tmp_path, CARD)
