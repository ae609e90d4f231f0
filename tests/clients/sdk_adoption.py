"""The ids that the SDK's tests use become objects of the account that runs them.

They are taken from what was recorded while the tests ran directly, by the product's own table of
operations. Deletions are taken back at once, since many tests delete and use the same id. The mock
server makes a new id each time, also of what it was asked for, so that a file that it has put into
a store is one that it cannot describe: such objects are described like others of their kind.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import asyncpg

from tokenbalance.cli.database import open_database
from tokenbalance.errors import EndpointNotAllowed, InvalidValue, UnknownUrl
from tokenbalance.openai import find_operation
from tokenbalance.openai.objects.found import kind_of_owner
from tokenbalance.openai.objects.references import references
from tokenbalance.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tokenbalance.model import Document
    from tokenbalance.openai.operation import Operation

_FORM_FIELD: Final = re.compile(r'name="(file_id|consent)"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]+)')
_FORM_KINDS: Final = {"file_id": "file", "consent": "voice_consent"}
_KEEP: Final = """
CREATE OR REPLACE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN NEW.deleted_at := NULL; RETURN NEW; END';
CREATE OR REPLACE TRIGGER stays BEFORE UPDATE ON objects FOR EACH ROW
    WHEN (NEW.deleted_at IS NOT NULL) EXECUTE FUNCTION stay();
CREATE OR REPLACE FUNCTION describe() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN SELECT snapshot INTO NEW.snapshot FROM objects
        WHERE kind = NEW.kind AND snapshot IS NOT NULL LIMIT 1; RETURN NEW; END';
CREATE OR REPLACE TRIGGER describes BEFORE INSERT ON objects FOR EACH ROW
    WHEN (NEW.snapshot IS NULL) EXECUTE FUNCTION describe();
"""
_ADOPT: Final = """
INSERT INTO objects (object_id, kind, account_id, parent_id, snapshot)
SELECT one, kind, accounts.id, parent, snapshot::{type}
FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) AS row (one, kind, parent, snapshot),
    accounts JOIN users ON users.id = accounts.user_id
WHERE users.email = $1
ON CONFLICT DO NOTHING
"""
_SNAPSHOT: Final = """
SELECT data_type FROM information_schema.columns
WHERE table_name = 'objects' AND column_name = 'snapshot'
"""


@dataclass(frozen=True, slots=True)
class Adopted:
    """One object."""

    kind: str
    id: str
    parent: str | None = None
    snapshot: str | None = None


def main() -> None:
    """Adopt what the recorded requests name: an email, then the records."""
    email, *records = sys.argv[1:]
    adopt(email, named_in([Path(record) for record in records]))


def named_in(records: Sequence[Path]) -> list[Adopted]:
    """Return every object that recorded requests name, each once."""
    found: dict[tuple[str, str], Adopted] = {}
    for path in records:
        for line in path.read_text("utf-8").splitlines():
            for one in _named(json.loads(line)):
                key = (one.kind, one.id)
                known = found.get(key)
                if known is None or (known.parent is None and one.parent is not None):
                    found[key] = one
                elif known.snapshot is None and one.snapshot is not None:
                    found[key] = replace(known, snapshot=one.snapshot)
    return _described(list(found.values()))


def _described(objects: Sequence[Adopted]) -> list[Adopted]:
    """Describe what no test reads as another object of its kind, since lists show it."""
    examples = {one.kind: one.snapshot for one in objects if one.snapshot is not None}

    def described(one: Adopted) -> Adopted:
        if one.snapshot is not None or one.kind not in examples:
            return one
        document = json.loads(examples[one.kind]) | {"id": one.id}
        return replace(one, snapshot=json.dumps(document))

    return [described(one) for one in objects]


def _named(line: Mapping[str, Any]) -> Iterator[Adopted]:
    # The sandbox is below a prefix, the mock server is not.
    path, _, query = str(line["target"]).removeprefix("/v1").partition("?")
    try:
        operation = find_operation(line["method"], path.encode(), query.encode())
    except (EndpointNotAllowed, InvalidValue, UnknownUrl):
        return
    parent: str | None = None
    ids = operation.path_ids(path.encode()) if operation.uses else ()
    for place, (kind, name) in enumerate(zip(operation.uses, ids, strict=True), 1):
        own = kind_of_owner(kind)
        shown = _snapshot(line, place == len(ids) and own == kind, operation)
        yield Adopted(own, name, parent, shown)
        parent = name
    yield from _of_query(query, operation, parent)
    yield from _of_body(line, operation)


def _snapshot(line: Mapping[str, Any], is_last: bool, operation: Operation) -> str | None:
    is_object = is_last and operation.lists is None and operation.path.endswith("}")
    return line["shown"] or None if is_object else None


def _of_query(query: str, operation: Operation, parent: str | None) -> Iterator[Adopted]:
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name in {"after", "before"} and value and operation.lists is not None:
            yield Adopted(kind_of_owner(operation.lists), value, parent)


def _of_body(line: Mapping[str, Any], operation: Operation) -> Iterator[Adopted]:
    body = str(line["body"])
    if "multipart" in line["type"]:
        for name, value in _FORM_FIELD.findall(body):
            yield Adopted(_FORM_KINDS[name], value)
        return
    document: Any = json.loads(body) if body else {}
    if not isinstance(document, dict):
        return
    document = cast("Document", document)
    for one in references(operation.family.place, document):
        values = one.value if isinstance(one.value, list) else [one.value]
        for value in values:
            if isinstance(value, str):
                yield Adopted(kind_of_owner(one.kind), value)


def adopt(email: str, objects: Sequence[Adopted]) -> None:
    """Make objects a user's, in the database that the environment names."""
    with open_database(load_settings()) as dsn:
        asyncio.run(_adopt(dsn, email, objects))


async def _adopt(dsn: str, email: str, objects: Sequence[Adopted]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        _ = await connection.execute(_KEEP)
        kind = await connection.fetchval(_SNAPSHOT)
        _ = await connection.execute(
            _ADOPT.format(type=kind),
            email,
            [one.id for one in objects],
            [one.kind for one in objects],
            [one.parent for one in objects],
            [one.snapshot for one in objects],
        )
    finally:
        await connection.close()


if __name__ == "__main__":
    main()
