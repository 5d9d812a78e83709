"""Export a campaign's snapshot as JSON or CSV."""

import csv
import io
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any

from faser_align.fsm.errors import UserError
from faser_align.operations import outputs
from faser_align.reference.exports import EXPORT_FORMATS as FORMATS
from faser_align.reference.exports import EXPORTED as TABLES
from faser_align.state import queries

JSON_COLUMNS = ("facts", "criteria", "metrics")
ALL = ""  # name of the text with all tables


def check(form: str, table: str, output: str) -> None:
    """Raise UserError for an unknown format or table, or for several tables in one CSV stream."""
    if form not in FORMATS:
        raise UserError(f"--format {form}: must be {' or '.join(FORMATS)}")
    if table and table not in TABLES:
        raise UserError(f"--table {table}: must be {', '.join(TABLES[:-1])} or {TABLES[-1]}")
    if form == "csv" and not table and not output:
        raise UserError(
            f"as CSV each table is a separate file; add -o FOLDER, or --table with one of {', '.join(TABLES)}"
        )


def texts(folder: str, form: str, table: str) -> dict[str, str]:
    """Return the texts to write, by table; JSON of all tables is one text with the key ``ALL``.

    Raises StoreError if the snapshot of the campaign in ``folder`` cannot be read.
    """
    wanted = (table,) if table else TABLES
    with queries.published(folder) as db:
        rows = {name: queries.view(db, f"v_{name}") for name in wanted}
        campaign = queries.campaign(db)
    if form == "csv":
        return {name: as_csv(found.columns, found.rows) for name, found in rows.items()}
    decoded = {name: [_decoded(found.columns, row) for row in found.rows] for name, found in rows.items()}
    value: Any = decoded[table] if table else {"campaign": campaign, **decoded}
    return {ALL: json.dumps(value, indent=1, allow_nan=False) + "\n"}


def write(texts: dict[str, str], form: str, output: str, *, force: bool) -> list[str]:
    """Write one text to the file ``output``, or several into the folder of that name; return the paths.

    Raises UserError if a file exists and may not be replaced, or cannot be written.
    """
    paths = {name: output if len(texts) == 1 else os.path.join(output, f"{name}.{form}") for name in texts}
    if len(texts) > 1:
        if os.path.lexists(output) and not os.path.isdir(output):
            raise UserError(f"{output} is a file, and each table becomes a file in a folder; name a folder with -o")
        with outputs.writing(output):
            os.makedirs(output, exist_ok=True)
    for path in paths.values():
        outputs.refuse_to_overwrite(path, force)
    for name, path in paths.items():
        outputs.write(path, texts[name], force=True)
    return list(paths.values())


def _decoded(columns: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a row by column name, with JSON values decoded."""
    found = dict(zip(columns, row, strict=True))
    return found | {key: json.loads(found[key]) for key in JSON_COLUMNS if key in found}


def as_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return column names, then rows; None is an empty field (RFC 4180)."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
