"""Imports of users: from CSV or from JSON that contains it; a dry run, or all of it."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final, Literal, cast

from fastapi import Depends, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

from tokenbalance.books.ledger.credits import IDEMPOTENCY_KEY_CHARS_MAX
from tokenbalance.cohorts.importing import Imported, Wanted, import_users, plan_import
from tokenbalance.errors import InvalidRequest, InvalidValue, MissingParameter
from tokenbalance.model import Document
from tokenbalance.people.imports.cells import COLUMNS
from tokenbalance.people.imports.planning import Existing, Plan
from tokenbalance.people.imports.reading import BYTES_MAX, ROWS_MAX
from tokenbalance.people.imports.results import Gives, as_csv, shown_secret
from tokenbalance.web.api.bodies import BODY_WITHIN_S, Body, BodyReader
from tokenbalance.web.api.callers import Acting, Superuser
from tokenbalance.web.api.csv import MEDIA_TYPE, csv_documented, prefers_csv
from tokenbalance.web.api.domain import IDEMPOTENCY_HEADER
from tokenbalance.web.api.responses import example
from tokenbalance.web.api.routing import api_router
from tokenbalance.web.context import base_url, management_of
from tokenbalance.wire.client.request import ClientGone, ClientRequest

imports_router = api_router("Users")

_EXAMPLE: Final = "email,name,credits,tag\nann@example.com,Ann,20000,cs101\n"
_JSON_BYTES_MAX: Final = 2 * BYTES_MAX
"""Quotes and line ends are escaped in JSON."""
_GIVES: Final = "What each new user gets: an API key, or a link that sets a password once."
_EXISTING: Final = (
    "Lines of who is a user already: an error, left out, or given credits and tags only."
)
GivesName = Literal["keys", "links"]
ExistingName = Literal["refuse", "skip", "add"]


class Import(Body):
    """A table of users."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"examples": [{"csv": _EXAMPLE, "dry_run": True}]}
    )

    csv: str = Field(
        description=f"CSV with a header, or e-mails, one a line; at most {ROWS_MAX:,} users."
        f" Columns: {', '.join(COLUMNS)}."
    )
    dry_run: bool = Field(default=False, description="Change nothing; return all errors.")
    gives: GivesName = Field(default="keys", description=_GIVES)
    existing: ExistingName = Field(default="refuse", description=_EXISTING)
    defaults: dict[str, str] = Field(
        default={}, description="Cells, by column, for lines where they are empty."
    )


class ImportReader(BodyReader[Import]):
    """Reads the table from JSON, or as it is with its options in the query."""

    other_types: ClassVar[Mapping[str, Document]] = {
        MEDIA_TYPE: {"schema": {"type": "string"}, "example": _EXAMPLE}
    }

    def __init__(self) -> None:
        super().__init__(Import, _JSON_BYTES_MAX)

    @override
    async def __call__(
        self,
        request: Request,
        dry_run: Annotated[
            bool | None, Query(description="With `text/csv` only: change nothing.")
        ] = None,
        gives: Annotated[
            GivesName | None, Query(description=f"With `text/csv` only. {_GIVES}")
        ] = None,
        existing: Annotated[
            ExistingName | None, Query(description=f"With `text/csv` only. {_EXISTING}")
        ] = None,
    ) -> Import:
        """Read the body of a request.

        Raises:
            InvalidRequest: it is too large, neither CSV nor strict JSON, or does not fit the model.

        """
        if not _is_csv(request):
            for name, value in (("dry_run", dry_run), ("gives", gives), ("existing", existing)):
                if value is not None:
                    msg = f"Invalid '{name}': with JSON it is a field of the body."
                    raise InvalidValue(msg, param=name)
            return await super().__call__(request)
        return Import(
            csv=await _read_text(request),
            dry_run=bool(dry_run),
            gives=gives or "keys",
            existing=existing or "refuse",
        )


class ImportErrorResponse(BaseModel):
    """One thing to correct in a table."""

    line: int
    field: str
    """The column; empty if it is about the line as a whole."""
    message: str


class ImportedUserResponse(BaseModel):
    """What becomes of one line."""

    line: int
    email: str
    name: str
    status: Literal["new", "added", "skipped"]
    """`added`: a user already, who gets credits and tags only."""
    id: int | None = None
    """The user's; null in a dry run."""
    secret: str | None = None
    """The key, or the link; it cannot be shown again."""


class ImportResponse(BaseModel):
    """What an import did, or would do."""

    model_config: ClassVar[ConfigDict] = example(
        dry_run=False,
        gives="keys",
        new=1,
        added=0,
        skipped=0,
        credits=20_000,
        errors=[],
        users=[
            {
                "line": 2,
                "email": "ann@example.com",
                "name": "Ann",
                "status": "new",
                "id": 7,
                "secret": "sk-tb-Zy98Xw...",
            }
        ],
    )

    dry_run: bool
    gives: GivesName
    new: int
    added: int
    skipped: int
    credits: int
    """That are given at once, to all together."""
    errors: list[ImportErrorResponse]
    """If there are any, an import is refused."""
    users: list[ImportedUserResponse]


@imports_router.post(
    "/users/import",
    status_code=201,
    summary="Import users",
    response_model=ImportResponse,
    responses={
        200: {"model": ImportResponse, "description": "A dry run."},
        201: csv_documented(("email", "name", "key"))[200],
        409: {},
    },
)
async def import_table(
    request: Request,
    response: Response,
    _caller: Superuser,
    actor: Acting,
    body: Annotated[Import, Depends(ImportReader())],
    key: Annotated[
        str | None,
        Header(
            alias=IDEMPOTENCY_HEADER,
            min_length=1,
            max_length=IDEMPOTENCY_KEY_CHARS_MAX,
            description="Chosen by the client, unique for each import: it is carried out once.",
        ),
    ] = None,
) -> ImportResponse | Response:
    """Create all users of a table in one transaction, or none.

    Keys and links are returned once and never stored: a retry with the same `Idempotency-Key`,
    which is required unless it is a dry run, is refused (409). With `Accept: text/csv` they are
    returned as a file.
    """
    wanted = Wanted(
        table=body.csv,
        gives=Gives(body.gives),
        existing=Existing(body.existing),
        defaults=body.defaults,
        key_limits=management_of(request).key_limits,
    )
    sessions = management_of(request).sessions
    if body.dry_run:
        async with sessions() as session:
            plan = await plan_import(session, wanted)
        response.status_code = 200
        return _planned(plan, wanted)
    if key is None:
        msg = f"Missing required header: '{IDEMPOTENCY_HEADER}'. Only a dry run needs none."
        raise MissingParameter(msg, param=IDEMPOTENCY_HEADER)
    async with sessions.begin() as session:
        imported = await import_users(session, wanted, actor, key)
    if prefers_csv(request):
        file = as_csv(imported.results, wanted.gives, base_url(request))
        disposition = {"content-disposition": 'attachment; filename="users.csv"'}
        return Response(file, 201, disposition, f"{MEDIA_TYPE}; charset=utf-8")
    return _imported(imported, wanted, base_url(request))


def _planned(plan: Plan, wanted: Wanted) -> ImportResponse:
    statuses = [("new", one) for one in plan.new]
    statuses += [("added", one) for one, _ in plan.added]
    statuses += [("skipped", one) for one in plan.skipped]
    users = [
        ImportedUserResponse(
            line=one.line,
            email=one.email,
            name=one.name,
            status=cast("Literal['new', 'added', 'skipped']", status),
        )
        for status, one in sorted(statuses, key=lambda each: each[1].line)
    ]
    return _response(plan, wanted, users, dry_run=True)


def _imported(imported: Imported, wanted: Wanted, base: str) -> ImportResponse:
    users = [
        ImportedUserResponse(
            line=one.line,
            email=one.email,
            name=one.name,
            status="added" if one.secret is None else "new",
            id=one.user_id,
            secret=shown_secret(one, wanted.gives, base) or None,
        )
        for one in imported.results
    ]
    return _response(imported.plan, wanted, users, dry_run=False)


def _response(
    plan: Plan, wanted: Wanted, users: list[ImportedUserResponse], *, dry_run: bool
) -> ImportResponse:
    return ImportResponse(
        dry_run=dry_run,
        gives=wanted.gives.value,
        new=len(plan.new),
        added=len(plan.added),
        skipped=len(plan.skipped),
        credits=plan.credits,
        errors=[
            ImportErrorResponse(line=one.line, field=one.field, message=one.reason)
            for one in plan.mistakes
        ],
        users=users,
    )


def _is_csv(request: Request) -> bool:
    types = request.headers.getlist("content-type")
    return len(types) == 1 and types[0].partition(";")[0].strip().lower() == MEDIA_TYPE


async def _read_text(request: Request) -> str:
    received = ClientRequest.of_asgi(request.scope, request.receive)
    try:
        body = await received.read_body(BYTES_MAX, BODY_WITHIN_S)
    except ClientGone:
        msg = "The client disconnected before it had sent its request."
        raise InvalidRequest(msg) from None
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        msg = "The table is not UTF-8: save it as CSV UTF-8."
        raise InvalidValue(msg, param="csv") from None
