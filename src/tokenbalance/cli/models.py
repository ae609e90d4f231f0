"""`tokenbalance models ...`: which facts about models are known here."""

import typer

from tokenbalance.cli.arguments import AsJson
from tokenbalance.cli.output import Fields, print_json, print_table
from tokenbalance.model import KnownModel
from tokenbalance.openai.tokens.models import shipped_models
from tokenbalance.settings import load_settings

app = typer.Typer(name="models", help="Show the facts about models that bound their requests.")


@app.callback()
def _group() -> None:
    """Keep `list` a command of its own, although it is the only one."""


@app.command("list")
def list_models(*, as_json: AsJson = False) -> None:
    """List beginnings of model names with their limits; the longest one that fits counts."""
    own = {row.name: row for row in load_settings().upstream_traits.own_models}
    known = {row.name: row for row in shipped_models()} | own
    rows = [model_fields(row, is_own=name in own) for name, row in sorted(known.items())]
    if as_json:
        print_json(rows)
    else:
        print_table(list(rows[0]), rows)


def model_fields(row: KnownModel, *, is_own: bool) -> Fields:
    """Name what is shown of a row."""
    return {
        "name": row.name,
        "context": row.model.context,
        "maximum_output": row.model.maximum_output,
        "encoding": row.model.encoding,
        "reasoning": row.model.is_reasoning,
        "retires": None if row.retires is None else row.retires.isoformat(),
        "source": "TOKENBALANCE_MODELS" if is_own else "built in",
    }
