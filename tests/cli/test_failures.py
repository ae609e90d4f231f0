from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.cli.conftest import Cli
from tests.support import postgres
from tokenbalance.cli import main
from tokenbalance.cli.failures import describe

if TYPE_CHECKING:
    from pathlib import Path

    from tokenbalance.database.connections import Pool
    from tokenbalance.postgres import EmbeddedPostgres


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "create"),
        ("user", "nonsense"),
        ("key", "revoke", "0"),
        ("balance", "set", "a@b.c", "1.5"),
        ("balance", "add", "a@b.c", "1", "--nonsense"),
    ],
    ids=" ".join,
)
def test_a_wrong_call_is_one_line_and_exit_2(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:s3cret@127.0.0.1:1/books",
        "postgresql://ada:s3cret@127.0.0.1:nonsense/books",
    ],
)
def test_a_database_out_of_reach_is_one_line_without_its_password(tmp_path: Path, url: str) -> None:
    line = Cli(tmp_path, {"DATABASE_URL": url}).refused("user", "list")
    assert "database" in line.lower()
    assert "s3cret" not in line


@pytest.mark.parametrize(
    "arguments",
    [
        ("user", "list"),
        ("key", "create", "a@b.c"),
        ("balance", "show", "a@b.c"),
        ("ledger", "verify"),
        ("usage", "export", "--since", "2026-01-01"),
    ],
    ids=" ".join,
)
def test_a_misspelled_data_folder_is_not_filled_with_new_books(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    folder = tmp_path / "misspelled"
    line = Cli(tmp_path, {"TOKENBALANCE_DATA_DIR": str(folder)}).refused(*arguments)
    assert f"There is no database in {folder}: start `tokenbalance serve` first" in line
    assert not folder.exists()


def test_a_wrong_setting_is_one_line_that_names_it(tmp_path: Path) -> None:
    cli = Cli(tmp_path, {"DATABASE_URL": "postgresql://h/d", "PORT": "nonsense"})
    assert "PORT" in cli.refused("serve")


def test_the_program_says_and_ends_with_what_the_command_does(cli: Cli) -> None:
    for arguments in (("user", "list", "--json"), ("user", "create")):
        assert cli.program(*arguments) == cli(*arguments)


async def test_a_database_without_tables_asks_for_migrate_which_is_repeatable(
    cluster: EmbeddedPostgres, tmp_path: Path
) -> None:
    dsn = await postgres.clone(cluster, "template0")
    try:
        cli = Cli(tmp_path, {"DATABASE_URL": dsn})
        assert "tokenbalance migrate" in cli.refused("user", "list")
        assert cli.json("migrate") == cli.json("migrate") == {"migrated": True}
        assert cli.json("user", "list") == []
    finally:
        await postgres.drop(cluster, dsn)


async def test_what_the_operator_can_fix_is_one_line(pool: Pool) -> None:
    with pytest.raises(asyncpg.UndefinedTableError) as outdated:
        await pool.fetchval("SELECT 1 FROM a_table_of_tomorrow")
    with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
        await pool.execute("SET ROLE pg_monitor; CREATE TABLE here (id int)")

    assert "tokenbalance migrate" in (describe(outdated.value) or "")
    assert "permission denied" in (describe(refused.value) or "")
    assert describe(KeyError("a mistake of ours")) is None
