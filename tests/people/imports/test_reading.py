"""What a table of users may look like."""

from __future__ import annotations

import pytest

from tokenbalance.people.imports import reading
from tokenbalance.people.imports.cells import COLUMNS
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.imports.reading import BYTES_MAX, read_lines

ANN = {"email": "ann@x.org", "name": "Ann"}


def cells(table: bytes | str) -> list[dict[str, str]]:
    return [dict(line.cells) for line in read_lines(table, COLUMNS)]


@pytest.mark.parametrize(
    "table",
    [
        "email,name\nann@x.org,Ann\n",
        "email,name\r\nann@x.org,Ann\r\n\r\n",
        "NAME;E-Mail\nAnn;ann@x.org",
        " e mail \t Name \n ann@x.org \t Ann ",
        "\ufeffemail,name\nann@x.org,Ann\n",
        "\ufeffemail,name\nann@x.org,Ann\n".encode(),
        '"email","name"\n"ann@x.org","Ann"\n',
        "email,name,\nann@x.org,Ann,\n",
        "email,name,tag\nann@x.org,Ann\n",
        "ann@x.org,Ann",
        "\n\nann@x.org;Ann\n",
    ],
)
def test_a_table_is_read_however_it_is_written(table: bytes | str) -> None:
    assert cells(table) == [ANN]


def test_without_a_header_e_mails_are_enough() -> None:
    assert cells("a@x.org\n\nb@x.org\n") == [{"email": "a@x.org"}, {"email": "b@x.org"}]


def test_a_cell_may_contain_separators_quotes_and_line_ends() -> None:
    table = 'email,name\na@x.org,"B, ""C""\nD"\ne@x.org,E\n'
    first, second = read_lines(table, COLUMNS)
    assert (first.number, first.cells["name"]) == (2, 'B, "C"\nD')
    assert second.number == 4


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "line 1: the table is empty"),
        (" \n,,\n", "line 1: the table is empty"),
        ("email,name\n", "line 1: there is no user below the header"),
        ("email,nmae\na@x.org,A\n", "line 1, nmae: is not a column: use email, name, credits"),
        ("name\nA\n", "line 1, email: this column is missing"),
        ("email,E-Mail\na@x.org,b@x.org\n", "line 1, email: this column is there twice"),
        (",".join(map(str, range(101))), "line 1: a table may have at most 100 columns"),
        ("a@x.org,A,5\n", "line 1: more than e-mail and name need a header"),
        ("email\na@x.org,A\n", "line 2: there are 2 cells, but 1 columns"),
        ('email,name\na@x.org,"A\n', "line 2: the quotes do not fit"),
        ('email,name\na@x.org,"A"b\n', "line 2: the quotes do not fit"),
        ("email\n".encode("utf-16"), "line 1: this is not UTF-8"),
        (b"email,name\na@x.org,A\nb@x.org,\xe4\n", "line 3: this is not UTF-8"),
        (b"x" * (BYTES_MAX + 1), "line 1: the table is larger than 5 MiB"),
        ("ä" * (BYTES_MAX // 2 + 1), "line 1: the table is larger than 5 MiB"),
    ],
)
def test_what_cannot_be_read_is_named(table: bytes | str, message: str) -> None:
    with pytest.raises(ImportRefused) as refused:
        _ = read_lines(table, COLUMNS)
    assert str(refused.value).startswith(message)


def test_a_table_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "ROWS_MAX", 2)
    assert len(cells("a@x.org\nb@x.org\n")) == 2
    with pytest.raises(ImportRefused, match="line 4: a table may have at most 2 users"):
        _ = cells("email\na@x.org\nb@x.org\nc@x.org\n")
