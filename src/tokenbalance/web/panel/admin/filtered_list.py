"""A list of the admin pages: its filters, the links between its pages, and its download.

Knows no rows: each list reads its own and passes them to its template.
"""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from tokenbalance.web.panel.admin.filters import kept, pages
from tokenbalance.web.panel.forms import query_form
from tokenbalance.web.panel.links import address
from tokenbalance.web.panel.rendering import render

if TYPE_CHECKING:
    from starlette.responses import Response

    from tokenbalance.web.panel.forms import Form
    from tokenbalance.web.panel.visit import Visit

FILE_FIELDS: Final = ("user", "team", "since", "until")
"""The filters of a download, unless it has its own."""


@dataclass(frozen=True, slots=True)
class FilteredList:
    """A list by its name, which its path, template and download have as well."""

    name: str
    fields: tuple[str, ...]
    """Its filters."""
    file_fields: tuple[str, ...] = FILE_FIELDS
    """Those of its download."""

    def form(self, visit: Visit, *more: str) -> Form:
        """Read the filters, and the cursor `after`, from the address; and fields beside them."""
        return query_form(visit.request, (*self.fields, *more, "after"))

    def render(
        self,
        visit: Visit,
        form: Form,
        following: str | None,
        status: HTTPStatus = HTTPStatus.OK,
        **values: object,
    ) -> Response:
        """Render a page of the list; `following` is the cursor of the next one, None if last."""
        path = f"/admin/{self.name}"
        return render(
            visit,
            f"admin/{self.name}.html",
            status=HTTPStatus.BAD_REQUEST if form.errors else status,
            form=form,
            links=pages(path, kept(form, self.fields), form.typed("after") or None, following),
            download=address(f"{path}.csv", **kept(form, self.file_fields)),
            **values,
        )
