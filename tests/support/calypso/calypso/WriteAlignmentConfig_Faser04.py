import os
import sqlite3
import sys
from pathlib import Path

name, _, constants = sys.argv[1].partition("=")
assert name == "AlignDbTool.AlignmentConstants", sys.argv
assert os.environ["CALYPSO_SETUP"] == "24.0.41"
values = eval(constants, {"__builtins__": {}})
assert all(len(six) == 6 for six in values.values())
if "write:nothing" in Path("@folder@/orders").read_text():
    sys.exit(0)
if "write:fail" in Path("@folder@/orders").read_text():
    raise RuntimeError("cannot write the payload")
version = "FASER-05" if "write:05" in Path("@folder@/orders").read_text() else "FASER-04"
with sqlite3.connect(f"{version}_ALLP200.db") as db:
    db.execute("CREATE TABLE folders (payload TEXT)")
    db.execute("INSERT INTO folders VALUES (?)", (constants,))
Path(f"{version}_Align.pool.root").write_bytes(b"root, a pool file")
Path("PoolFileCatalog.xml").write_text("<POOLFILECATALOG/>")
