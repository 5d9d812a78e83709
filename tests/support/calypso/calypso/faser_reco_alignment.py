import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import sys
import time
from pathlib import Path

raw, *options = sys.argv[1:]
Path(f"{raw}.options").write_text(" ".join(options))
assert len({"--noBackward", "--noForward"}.intersection(options)) == 1, options
work = Path.cwd()
assert os.environ["ATLAS_POOLCOND_PATH"] == str(work / "data")
assert (work / "data" / "poolcond" / "PoolCat_oflcond.xml").read_text()
assert list((work / "data" / "poolcond").glob("*.pool.root"))
db = sqlite3.connect(work / "data" / "sqlite200" / "ALLP200.db")
((constants,),) = db.execute("SELECT payload FROM folders WHERE tag = 'TRACKER-ALIGN-05'").fetchall()
does = json.loads(Path(raw).read_text())
run, file = re.fullmatch(r"Faser-Physics-(\d{6})-(\d{5})\.raw", Path(raw).name).groups()
print(
    f"ApplicationMgr INFO reconstructing {raw} with geometry {os.environ['FASER_GEOMETRY']}, {os.environ['FASER_TAG']}"
)
Path(f"Faser-Physics-{run}-{file}-xAOD.root").write_bytes(b"root, an xAOD file")
ran = Path(f"{raw}.ran")
ran.write_text(ran.read_text() + "." if ran.exists() else ".")
if does.get("crash") or len(ran.read_text()) > does.get("good", 999):
    sys.exit("FATAL: Segment decoding failed")
if does.get("sleep"):
    time.sleep(60)
if does.get("killed"):
    os.kill(os.getpid(), signal.SIGSEGV)
if does.get("full"):
    sys.exit("SysError: error writing to file: No space left on device")
if does.get("silent"):
    sys.exit(0)


def simulate(name, stations):
    """Write tracks: faster than the original, since the detector is that of faser_align's simulation."""
    from faser_align.alignment.parameters.constants import parse_constants, read_constants
    from faser_align.simulation import geometry, kfalignment, reconstruct, tracks
    from faser_align.system.libraries import without

    believed = geometry.build(parse_constants(constants, "the database"))
    truth = geometry.build(read_constants(does["truth"]))
    response = tracks.Response(inefficiency=0.005, noise=0.0, outliers=0.0)
    hits = tracks.simulate_file(truth, does["tracks"], 1, int(run), int(file), response)
    with without("pyarrow"):  # as in the jobs
        kfalignment.write(name, (reconstruct.reconstruct(h, believed, stations) for h in hits))


name = f"Faser-Physics-{run}-{file}-kfalignment.root"
stations = 3 if "--noIFT" in options else 4
if kept := does.get("kept"):  # the same input gives the same tracks
    given = repr((constants, Path(does["truth"]).read_text(), does["tracks"], run, file, stations))
    path = Path(kept, hashlib.sha256(given.encode()).hexdigest())
    if not path.exists():
        simulate(name, stations)
        Path(kept).mkdir(exist_ok=True)
        shutil.copyfile(name, f"{path}.{os.getpid()}")
        os.replace(f"{path}.{os.getpid()}", path)
    shutil.copyfile(path, name)
else:
    simulate(name, stations)
if does.get("truncated"):
    with open(name, "r+b") as out:
        out.truncate(os.path.getsize(name) - 1000)
if does.get("empty"):
    import uproot

    os.remove(name)  # uproot 5.7.0 keeps the length of a file that it writes again
    with uproot.recreate(name) as out:
        out.mktree("tree", {"fitParam_chi2": "f8"})
if does.get("twice"):
    Path(f"Faser-Physics-{run}-{file}-b-kfalignment.root").write_bytes(b"root")
sys.stdout.flush()
os._exit(0)
