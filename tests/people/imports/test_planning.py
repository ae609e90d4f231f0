"""What is made of a table, and everything that is wrong with it."""

from __future__ import annotations

import csv
import io

import pytest

from tokenbalance.people.imports.cells import Allowance, Person
from tokenbalance.people.imports.mistakes import ImportRefused
from tokenbalance.people.imports.planning import Existing, Known, Plan, make_plan, read_people
from tokenbalance.people.imports.results import Gives, Result, as_csv

KNOWN = {"a@x.org": Known(7, 8, ("t1",))}


def plan(table: str, existing: Existing = Existing.REFUSE, **defaults: str) -> Plan:
    return make_plan(read_people(table, defaults), KNOWN, existing)


def mistakes(table: str, existing: Existing = Existing.REFUSE) -> list[str]:
    return [mistake.message for mistake in plan(table, existing).mistakes]


def test_every_column_is_read() -> None:
    table = (
        "email,name,credits,allowance,every,tag,parallel_requests,tokens_per_day,models\n"
        'Ann@x.org,Ann,"1,000",20_000,Week,B a|b,3,100 000,gpt-6-* o4\n'
    )
    assert plan(table).new == (
        Person(
            line=2,
            email="Ann@x.org",
            name="Ann",
            credits=1000,
            allowance=Allowance(20_000, "week"),
            tags=("a", "b"),
            limits={
                "tokens_per_day": 100_000,
                "parallel_requests": 3,
                "models": ("gpt-6-*", "o4"),
            },
        ),
    )
    assert plan(table).mistakes == ()


@pytest.mark.parametrize(
    ("columns", "row", "message"),
    [
        ("name", "Ann", "email: is missing"),
        ("email", "nobody", "email: the e-mail must have exactly one '@'"),
        ("email", f"{'a' * 250}@x.org", "email: the e-mail must have at most 254 characters"),
        ("email,name", f"b@x.org,{'n' * 201}", "name: the name must have at most 200 characters"),
        ("email,name", "b@x.org,a\x07b", "name: the name must have"),
        ("email,credits", "b@x.org,-1", "credits: must be a whole number from 1 to"),
        ("email,credits", "b@x.org,0", "credits: must be"),
        ("email,credits", "b@x.org,1.5", "credits: must be"),
        ("email,credits", "b@x.org,1e3", "credits: must be"),
        ("email,credits", "b@x.org,\u0661", "credits: must be"),
        ("email,credits", f"b@x.org,{2**53}", "credits: must be"),
        ("email,credits", f"b@x.org,{'9' * 9999}", "credits: must be"),
        ("email,allowance", "b@x.org,5", "every: `allowance` and `every` need each other"),
        ("email,every", "b@x.org,day", "allowance: `allowance` and `every` need each other"),
        ("email,allowance,every", "b@x.org,5,year", "every: must be one of day, week, month"),
        ("email,allowance,every", "b@x.org,x,day", "allowance: must be a whole number"),
        ("email,tag", "b@x.org,a/b", "tag: a tag must have 1 to 40 characters"),
        ("email,tag", f"b@x.org,{' '.join(map(str, range(21)))}", "tag: a user must have at most"),
        ("email,parallel_requests", "b@x.org,many", "parallel_requests: must be a whole number"),
        ("email,models", "b@x.org,|", "models: must be a list"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(columns: str, row: str, message: str) -> None:
    header = columns if "email" in columns else f"{columns},email"
    (told,) = mistakes(f"{header}\n\n{row}\n")
    assert told.startswith(f"line 3, {message}")


def test_all_mistakes_are_told_in_the_order_of_lines() -> None:
    table = "email,credits,tag\nb@x.org,x,-\nA@x.org,1,\nB@X.org,1,\n,,t\n"
    told = [message.partition(":")[0] for message in mistakes(table)]
    assert told == ["line 2, credits", "line 2, tag", "line 4, email", "line 5, email"]
    told = [message.partition(":")[0] for message in mistakes(table.replace("A@x", "a@x"))]
    assert "line 3, email" in told


def test_a_user_who_is_there_is_a_mistake_or_skipped_or_added_to() -> None:
    table = "email,credits\na@x.org,5\nb@x.org,6\n"
    assert mistakes(table) == ["line 2, email: a user with this e-mail already exists"]
    skipping = plan(table, Existing.SKIP)
    assert [one.email for one in skipping.skipped] == ["a@x.org"]
    assert ([one.email for one in skipping.new], skipping.credits) == (["b@x.org"], 6)
    adding = plan(table, Existing.ADD)
    assert [(one.email, known.user_id) for one, known in adding.added] == [("a@x.org", 7)]
    assert (adding.skipped, adding.credits, adding.mistakes) == ((), 11, ())


def test_tags_that_would_be_too_many_with_those_that_are_there_are_a_mistake() -> None:
    table = f"email,tag\na@x.org,{' '.join(f'n{n}' for n in range(20))}\n"
    assert mistakes(table, Existing.ADD) == ["line 2, tag: the user would have more than 20 tags"]


def test_defaults_fill_the_cells_that_are_empty() -> None:
    table = "email,credits\nb@x.org,\nc@x.org,7\n"
    filled = plan(table, credits="5", Tags=" cs101 ", name="").new
    assert [(one.credits, one.tags) for one in filled] == [(5, ("cs101",)), (7, ("cs101",))]
    for name in ("email", "nonsense"):
        with pytest.raises(ImportRefused, match="no value can be set for this column"):
            _ = read_people(table, {name: "x"})


def test_results_are_no_formulas_for_a_spreadsheet() -> None:
    names = ["=1+1", "+1", "-1", "@a", "\tb", "B, C", 'say "D"', "Ann"]
    results = [Result(2, f"{name[0]}@x.org", name, 1, "sk-tb-x") for name in names]
    written = as_csv([*results, Result(9, "old@x.org", "", 2, None)], Gives.KEYS, "")
    rows = list(csv.reader(io.StringIO(written, newline="")))
    assert rows[0] == ["email", "name", "key"]
    expected = ["'=1+1", "'+1", "'-1", "'@a", "'\tb", *names[5:]]
    assert [row[1] for row in rows[1:-1]] == expected
    assert rows[1][0] == "'=@x.org"
    assert rows[-1] == ["old@x.org", "", ""]
    linked = as_csv(results[-1:], Gives.LINKS, "https://a.b")
    assert linked.splitlines() == ["email,name,link", "A@x.org,Ann,https://a.b/welcome/sk-tb-x"]
    assert "sk-tb-x" not in repr(results)
