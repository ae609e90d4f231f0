"""A form that is accepted has the same parts for another parser, whatever was done to it."""

from __future__ import annotations

import random
from email.parser import BytesParser
from email.policy import HTTP
from typing import cast

from tests.support.forms import BOUNDARY, CONTENT_TYPE, file, form, read, text
from tokenbalance.errors import ProxyError

WHOLE = form(text("model", "gpt"), file("file", b"ab\r\ncd--"), text("n[]", "1"), text("n[]", "2"))
PIECES = [
    *(b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"--", b"-", b"--" + BOUNDARY, BOUNDARY, b"--\r\n"),
    *(b" ", b"\t", b'"', b";", b"=", b":", b"\\", b"\x00", b"a", b"name", b"filename"),
    *(b'; name="x"', b'; filename="x"', b'Content-Disposition: form-data; name="model"\r\n'),
]
TIMES = 1000


def damaged(chance: random.Random) -> bytes:
    body = bytearray(WHOLE)
    for _ in range(chance.choice([1, 1, 2, 3])):
        start = chance.randrange(len(body) + 1)
        body[start : start + chance.choice([0, 0, 1, 2, 5, 20])] = chance.choice(PIECES)
    return bytes(body)


def read_by_email(body: bytes) -> dict[str, list[bytes]]:
    """What the parser of the standard library reads: the values of each name."""
    head = f"Content-Type: {CONTENT_TYPE}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    values: dict[str, list[bytes]] = {}
    for part in message.iter_parts():
        name = str(part.get_param("name", header="content-disposition"))
        value = cast("bytes | None", part.get_payload(decode=True))
        values.setdefault(name.partition("[")[0], []).append(value or b"")
    return values


def test_a_form_that_is_accepted_is_read_alike_elsewhere() -> None:
    chance = random.Random(1)  # noqa: S311 - what happens has to follow from the seed
    accepted = 0
    for _ in range(TIMES):
        body = damaged(chance)
        try:
            document, files = read([body])
        except ProxyError:
            continue
        accepted += 1
        ours: dict[str, list[bytes]] = {}
        for name, value in document.items():
            if name in files:
                ours[name] = [body[one.offset : one.offset + one.size] for one in files[name]]
            else:
                texts = value if isinstance(value, list) else [value]
                ours[name] = [str(one).encode() for one in texts]
        assert ours == read_by_email(body), body
    assert accepted > TIMES // 20
