"""All commands, by name. Each group has its own file; this one only collects them."""

from __future__ import annotations

import typer

from tokenbalance.cli.balance import app as balance
from tokenbalance.cli.events import app as events
from tokenbalance.cli.key import app as key
from tokenbalance.cli.ledger import app as ledger
from tokenbalance.cli.migrate import migrate_database
from tokenbalance.cli.models import app as models
from tokenbalance.cli.request import app as request
from tokenbalance.cli.sandbox import serve_sandbox
from tokenbalance.cli.serve import serve
from tokenbalance.cli.sign_in import app as sign_in
from tokenbalance.cli.usage import app as usage
from tokenbalance.cli.user import app as user
from tokenbalance.cli.user import create_superuser

app = typer.Typer(
    name="tokenbalance",
    help="OpenAI access handed out by prepaid balance.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
_ = app.command("serve")(serve)
_ = app.command("migrate")(migrate_database)
_ = app.command("createsuperuser")(create_superuser)
_ = app.command("sandbox")(serve_sandbox)
app.add_typer(user)
app.add_typer(sign_in)
app.add_typer(key)
app.add_typer(balance)
app.add_typer(ledger)
app.add_typer(usage)
app.add_typer(request)
app.add_typer(events)
app.add_typer(models)
