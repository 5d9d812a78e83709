"""Read the database's views, for people with their own SQL tools and for ``export``.

They are part of the schema's second version: released views are never changed, a new view is a new migration.
"""

from pathlib import Path

_TEXTS = Path(__file__).with_name("views.sql").read_text(encoding="utf-8").split(";\n")
VIEWS = {text.split()[2]: text.strip() for text in _TEXTS if text.strip()}
