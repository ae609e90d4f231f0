"""Vocabularies are read when first needed, once, by a thread that gives way to nobody."""

from __future__ import annotations

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from unittest import mock

import pytest

from tests.support.documents import CHAT, chat
from tokenbalance.offload import offload
from tokenbalance.openai.estimate import bound, count, least
from tokenbalance.openai.tokens import load, vocabularies
from tokenbalance.openai.tokens.vocabularies import (
    CL100K,
    O200K,
    CorruptVocabularyError,
    loading,
    prepare,
    vocabulary,
)

if TYPE_CHECKING:
    from collections.abc import Generator
    from unittest.mock import MagicMock


@pytest.fixture
def read() -> Generator[MagicMock]:
    """Nothing is loaded; what is read from now on is a small thing, and counted."""
    with (
        mock.patch.dict(vocabularies._LOADED, clear=True),
        mock.patch.object(vocabularies, "_read") as reading,
        ThreadPoolExecutor(1) as loader,
        mock.patch.object(vocabularies, "_LOADER", loader),
    ):
        yield reading


def test_nothing_is_read_before_it_is_needed(read: MagicMock) -> None:
    prepare()
    bound(CHAT, chat())
    least(CHAT, chat())
    vocabularies._LOADER.submit(int).result()
    read.assert_not_called()


def test_a_vocabulary_is_read_once_however_many_wait_for_it(read: MagicMock) -> None:
    begin = threading.Event()
    vocabularies._LOADER.submit(begin.wait, 60)
    waits = [loading(O200K) for _ in range(5)]
    begin.set()
    found = [wait.result() for wait in waits if wait is not None]
    assert found == [vocabulary(O200K)] * 5
    read.assert_called_once_with(O200K)
    assert loading(O200K) is None


def test_who_gives_up_waiting_takes_it_from_nobody(read: MagicMock) -> None:
    begin = threading.Event()
    vocabularies._LOADER.submit(begin.wait, 60)
    first, second = loading(O200K), loading(O200K)
    assert first is not None
    assert second is not None
    assert first.cancel()
    begin.set()
    assert second.result() is vocabulary(O200K)
    read.assert_called_once_with(O200K)


def test_a_process_that_forks_loads_all_in_its_own_thread(read: MagicMock) -> None:
    threads: list[int] = []

    def note_thread(_name: str) -> None:
        threads.append(threading.get_ident())

    read.side_effect = note_thread
    load()
    assert threads == [threading.get_ident()] * 2
    assert (loading(O200K), loading(CL100K)) == (None, None)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux")
@pytest.mark.usefixtures("read")
async def test_the_loader_does_not_give_way_although_the_one_that_waits_does() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    prepare()
    assert await offload(lambda: vocabularies._LOADER.submit(priority).result()) == priority()


@pytest.mark.usefixtures("read")
def test_a_damaged_file_is_noticed_at_the_start() -> None:
    with (
        mock.patch.dict(vocabularies._SHA256, {CL100K: "0" * 64}),
        pytest.raises(CorruptVocabularyError, match=f"{CL100K} of this installation is damaged"),
    ):
        prepare()


def test_a_loaded_vocabulary_keeps_one_copy_of_its_tokens() -> None:
    assert vocabulary(O200K)._mergeable_ranks == {}
    assert vocabulary(O200K).n_vocab == 199_998


def test_a_count_is_the_same_whoever_loads() -> None:
    counted = count(CHAT, chat())
    with mock.patch.dict(vocabularies._LOADED, clear=True):
        assert count(CHAT, chat()) == counted
