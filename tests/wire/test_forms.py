"""Forms are read alike however they are cut, and one that can be read in two ways is refused."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.forms import BOUNDARY, file, form, part, read, text
from tokenbalance.errors import InvalidForm, RequestTooLarge
from tokenbalance.wire.client.forms import FormReader
from tokenbalance.wire.client.forms import reader as readers

if TYPE_CHECKING:
    from collections.abc import Sequence

CRLF = b"\r\n"
LINE = b"--" + BOUNDARY
FULL = form(
    text("purpose", "assistants"),
    file("file", b"\r\n--boundary\r\n-\r\r\n" + LINE[2:], "a b\\c.txt", "Content-Type: text/plain"),
    text("include[]", "one"),
    text("include[]", "\r\n"),
    text("expires_after[anchor]", "created_at", "Content-Type: text/plain; charset=UTF-8"),
    file("image[]", b"", "empty.png", "Content-Transfer-Encoding: binary", "Content-Length: 0"),
    file("image[]", b"\x00\xff", "\N{SNOWMAN}.png"),
    text("prompt", ""),
)
DOCUMENT = {
    "purpose": "assistants",
    "file": {"filename": "a b\\c.txt", "content_type": "text/plain", "size": 38},
    "include": ["one", "\r\n"],
    "expires_after": {"anchor": "created_at"},
    "image": [
        {"filename": "empty.png", "content_type": None, "size": 0},
        {"filename": "\N{SNOWMAN}.png", "content_type": None, "size": 2},
    ],
    "prompt": "",
}


def pieces_of(body: bytes, *cuts: int) -> list[bytes]:
    return [body[start:end] for start, end in pairwise([0, *cuts, len(body)])]


def test_a_form_is_the_same_document_wherever_it_is_cut() -> None:
    whole = read([FULL])
    assert whole[0] == DOCUMENT
    for cut in range(len(FULL) + 1):
        assert read(pieces_of(FULL, cut)) == whole, cut
    for size in (1, 2, 3, 5, 7, 11, 64):
        assert read(pieces_of(FULL, *range(size, len(FULL), size))) == whole, size


def test_files_are_found_in_the_bytes_of_their_form() -> None:
    _, files = read([FULL])
    contents = {
        name: [FULL[one.offset : one.offset + one.size] for one in places]
        for name, places in files.items()
    }
    data = b"\r\n--boundary\r\n-\r\r\n" + LINE[2:]
    assert contents == {"file": [data], "image": [b"", b"\x00\xff"]}


def test_a_form_that_ends_early_is_refused_wherever_that_is() -> None:
    # The line end behind it may be missing.
    for size in range(len(FULL) - len(CRLF)):
        with pytest.raises(InvalidForm):
            read([FULL[:size]])
    assert read([FULL[: -len(CRLF)]])[0] == DOCUMENT


@pytest.mark.parametrize(
    ("parts", "document"),
    [
        ([], {}),
        ([text("a", "1"), text("a", "2"), text("a", "3")], {"a": ["1", "2", "3"]}),
        ([text("a[]", "1")], {"a": ["1"]}),
        ([text("a[b][c]", "1"), text("a[b][d]", "2")], {"a": {"b": {"c": "1", "d": "2"}}}),
        ([text("a[b][]", "1"), text("a[b][]", "2")], {"a": {"b": ["1", "2"]}}),
        ([text("a[][b]", "1"), text("a[][b]", "2")], {"a": [{"b": "1"}, {"b": "2"}]}),
        ([text("a[][]", "1")], {"a": [["1"]]}),
        ([text("a[B c]", "1")], {"a": {"B c": "1"}}),
        ([part("form-data; name=model", "gpt")], {"model": "gpt"}),
        ([part('form-data;name="model"', "gpt")], {"model": "gpt"}),
        ([text("metadata", "{}", "Content-Type: application/json")], {"metadata": "{}"}),
        (
            [part("form-data; name=file; filename=a.b; filename*=utf-8''a.b", "1")],
            {"file": {"filename": "a.b", "content_type": None, "size": 1}},
        ),
        (
            [part('form-data; filename="a;b=c\\\\"; name="file"', "1")],
            {"file": {"filename": "a;b=c\\\\", "content_type": None, "size": 1}},
        ),
    ],
)
def test_names_become_members(parts: Sequence[bytes], document: dict[str, Any]) -> None:
    assert read([form(*parts)])[0] == document


HOSTILE_PARTS: dict[str, Sequence[bytes]] = {
    "no head": [b"\r\nvalue"],
    "no disposition": [b"Content-Type: text/plain\r\n\r\nvalue"],
    "no name": [part("form-data", "1")],
    "an empty name": [part('form-data; name=""', "1")],
    "another disposition": [part('attachment; name="model"', "1")],
    "a disposition that begins alike": [part('form-data2; name="model"', "1")],
    "a disposition in capitals": [part('FORM-DATA; name="model"', "1")],
    "a second name": [part('form-data; name="a"; name="model"', "1")],
    "a second file name": [part('form-data; name="a"; filename="b"; filename="c"', "1")],
    "an encoded name": [part("form-data; name=\"a\"; name*=utf-8''model", "1")],
    "a continued name": [part('form-data; name*0="mo"; name*1="del"', "1")],
    "an encoded file name alone": [part("form-data; name=\"model\"; filename*=utf-8''b", "1")],
    "an empty file name": [part('form-data; name="model"; filename=""', "1")],
    "a parameter in capitals": [part('form-data; Name="model"', "1")],
    "another parameter": [part('form-data; name="model"; size=1', "1")],
    "a quotation mark that is escaped": [part('form-data; name="a"; filename="\\"; x="', "1")],
    "a backslash at the end": [file("a", "1", "b\\")],
    "three backslashes at the end": [file("a", "1", "b\\\\\\")],
    "a parameter in a file name": [file("a", "1", "b; name=model")],
    "a name without its end": [part('form-data; name="model', "1")],
    "something behind the name": [part('form-data; name="model" x', "1")],
    "a blank before the equals sign": [part('form-data; name ="model"', "1")],
    "a backslash in a name": [text("mod\\el", "1")],
    "a name in capitals": [text("Model", "1")],
    "a blank before a name": [text(" model", "1")],
    "a blank behind a name": [text("model ", "1")],
    "a letter of full width": [text("\N{FULLWIDTH LATIN SMALL LETTER M}odel", "1")],
    "a dot in a name": [text("model.x", "1")],
    "a percent sign in a name": [text("mode%6c", "1")],
    "a bracket that is not closed": [text("model[", "1")],
    "a bracket that is not opened": [text("model]", "1")],
    "something behind a bracket": [text("a[b]c", "1")],
    "a bracket in a bracket": [text("a[[b]]", "1")],
    "too many brackets": [text("a" + "[b]" * 9, "1")],
    "a control character in a name": [b'Content-Disposition: form-data; name="mo\x00"\r\n\r\n1'],
    "a bare line feed in a head": [
        b'Content-Disposition: form-data; name="a"\nContent-Type: text/plain\r\n\r\n1'
    ],
    "a bare line feed behind a head": [b'Content-Disposition: form-data; name="a"\n\n1'],
    "a bare carriage return in a head": [
        b'Content-Disposition: form-data; name="a"\rX: y\r\n\r\n1'
    ],
    "a folded line": [b'Content-Disposition: form-data;\r\n name="model"\r\n\r\n1'],
    "a blank before the colon": [b'Content-Disposition : form-data; name="model"\r\n\r\n1'],
    "a line without a colon": [b"Content-Disposition\r\n\r\n1"],
    "a name that is not UTF-8": [b'Content-Disposition: form-data; name="\xff"\r\n\r\n1'],
    "a header twice": [
        part('form-data; name="a"', "1", 'content-disposition: form-data; name="model"')
    ],
    "a coding": [text("model", "Z3B0", "Content-Transfer-Encoding: base64")],
    "another coding": [text("model", "=67", "Content-Transfer-Encoding: quoted-printable")],
    "a coding of a file": [file("file", "Z3B0", "a", "content-transfer-encoding: BASE64")],
    "another charset": [text("model", "1", "Content-Type: text/plain; charset=utf-16")],
    "two charsets": [text("model", "1", "Content-Type: text/plain; charset=utf-8; charset=utf-7")],
    "a spaced charset": [text("model", "1", "Content-Type: text/plain; charset =utf-16")],
    "an encoded charset": [text("model", "1", "Content-Type: text/plain; charset*=utf-16")],
    "text that some take for a file": [
        text("model", "1", "Content-Type: application/octet-stream")
    ],
    "a form in a form": [text("model", "1", "Content-Type: multipart/mixed; boundary=x")],
    "text that is not UTF-8": [text("prompt", b"\xff\xfe")],
    "a length that is too short": [text("model", "12", "Content-Length: 1")],
    "a length that is too long": [text("model", "12", "Content-Length: 3")],
    "a length that is no number": [text("model", "12", "Content-Length: +2")],
    "too many headers": [text("model", "1", *(f"X-{number}: y" for number in range(8)))],
    "a long header": [text("model", "1", "X: " + "y" * 5000)],
    "a long name": [text("a" * 257, "1")],
    "a model twice": [text("model", "a"), text("model", "b")],
    "a number twice": [text("n", "1"), file("n", "2")],
    "a size twice": [text("size", "1"), text("size", "2")],
    "a quality twice": [text("quality", "1"), text("quality", "2")],
    "a file twice": [file("file", "1"), file("file", "2")],
    "a member twice": [text("a[b]", "1"), text("a[b]", "2")],
    "a value and a list": [text("a", "1"), text("a[]", "2")],
    "a list and a value": [text("a[]", "1"), text("a", "2")],
    "a list and an object": [text("a[]", "1"), text("a[b]", "2")],
    "a value and an object": [text("a", "1"), text("a[b]", "2")],
    "a file and its members": [file("file", "1"), text("file[size]", "2")],
    "an object and a file": [text("file[size]", "1"), file("file", "2")],
}


@pytest.mark.parametrize("parts", HOSTILE_PARTS.values(), ids=HOSTILE_PARTS.keys())
def test_a_part_that_another_parser_could_read_differently_is_refused(
    parts: Sequence[bytes],
) -> None:
    body = form(text("first", "1"), *parts, text("last", "1"))
    for pieces in ([body], pieces_of(body, len(body) // 2), [bytes([byte]) for byte in body]):
        with pytest.raises(InvalidForm):
            read(pieces)


AROUND: dict[str, bytes] = {
    "nothing": b"",
    "no boundary": b"model=gpt",
    "a line end before": CRLF + form(text("a", "1")),
    "a preamble": b"preamble\r\n" + form(text("a", "1")),
    "a preamble behind a line end": b"\r\npreamble" + form(text("a", "1")),
    "another boundary": form(text("a", "1"), boundary=b"other"),
    "a longer boundary": form(text("a", "1"), boundary=BOUNDARY + b"x"),
    "a shorter boundary": form(text("a", "1"), boundary=BOUNDARY[:-1]),
    "a blank behind the first line": LINE + b" " + CRLF + text("a", "1") + CRLF + LINE + b"--",
    "a blank behind a line": form(text("a", "1") + CRLF + LINE + b" \r\n" + text("b", "2")),
    "a tab behind a line": form(text("a", "1") + CRLF + LINE + b"\t\r\n" + text("b", "2")),
    "a blank behind the last line": form(text("a", "1"))[:-2] + b" \r\n",
    "a bare line feed behind a line": form(text("a", "1\r\n") + LINE + b"\n" + text("b", "2")),
    "a bare line feed before a line": form(text("a", "1\n") + LINE + CRLF + text("b", "2")),
    "a bare line feed before the last": form(text("a", "1\n") + LINE + b"--\r\n"),
    "a bare return before a line": form(text("a", "1\r") + LINE + CRLF + text("b", "2")),
    "a line that begins with one": form(text("a", b"1\r\n" + LINE + b"x")),
    "a line that begins with the last": form(text("a", b"1\r\n" + LINE + b"-x")),
    "bare line feeds": form(text("a", "1")).replace(CRLF, b"\n"),
    "a part behind the last": form(text("a", "1")) + form(text("model", "2")),
    "an epilogue": form(text("a", "1")) + b"epilogue",
    "two line ends behind": form(text("a", "1")) + CRLF,
    "a line feed behind": form(text("a", "1"))[:-2] + b"\n",
}


@pytest.mark.parametrize("body", AROUND.values(), ids=AROUND.keys())
def test_what_stands_around_the_parts_can_be_read_in_one_way_only(body: bytes) -> None:
    for cut in range(len(body) + 1):
        with pytest.raises(InvalidForm):
            read(pieces_of(body, cut))


def test_a_field_is_named_by_the_error() -> None:
    with pytest.raises(InvalidForm, match="'model' was sent more than once") as refused:
        read([form(text("model", "a"), text("model", "b"))])
    assert refused.value.param == "model"


@pytest.mark.parametrize(
    ("limit", "parts"),
    [
        ("PARTS_MAX", [text(f"a{number}", "1") for number in range(3)]),
        ("TEXT_BYTES_MAX", [text("a", "123")]),
        ("TEXTS_BYTES_MAX", [text("a", "12"), text("b", "3")]),
    ],
)
def test_parts_and_their_text_are_limited(
    monkeypatch: pytest.MonkeyPatch, limit: str, parts: Sequence[bytes]
) -> None:
    monkeypatch.setattr(readers, limit, 2)
    with pytest.raises(RequestTooLarge):
        read([form(*parts)])


def test_no_bytes_whatever_make_the_reader_fail_otherwise() -> None:
    for start in range(0, len(FULL), 7):
        for byte in (b"\x00", b"\r", b"\n", b"-", b'"', b":", b"[", b"\\", b"\xff"):
            reader = FormReader(BOUNDARY)
            with suppress(InvalidForm):
                reader.feed(FULL[:start] + byte + FULL[start + 1 :])
                _ = reader.finish()
