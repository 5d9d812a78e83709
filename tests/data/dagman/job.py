"""Run as a job of a recorded campaign: ``job.py NODE``, in the campaign's folder.

It writes the files that scripts expect. ``faults/NODE`` has a line for each attempt with a fault: an exit status, or
``sleep``.
"""

import os
import sys
import time

node = sys.argv[1]
kind, stage, iteration = node.split("_")[:3]
folder = f"iter{iteration[1:]}" if stage == "s1" else f"stage{int(stage[1:]):02d}/iter{iteration[1:]}"
time.sleep(0.1)
if os.path.exists(f"faults/{node}"):
    with open(f"faults/{node}") as file:
        fault, *rest = file.read().split()
    if rest:
        with open(f"faults/{node}", "w") as file:
            file.write(" ".join(rest))
    else:
        os.unlink(f"faults/{node}")
    if fault == "sleep":
        time.sleep(600)
    print(f"{node} cannot go on", file=sys.stderr)
    sys.exit(int(fault))
if kind == "reco":
    size = 1000
    head = b"root" + (62400).to_bytes(4, "big") + (100).to_bytes(4, "big") + size.to_bytes(4, "big")
    number = node.split("_")[3]
    with open(f"{folder}/2kfalignment/kfalignment_011705_{number}.root", "wb") as root:
        root.write(head.ljust(size, b"\0"))
    open(f"{folder}/2kfalignment/mp2input_011705_{number}.bin", "wb").close()
else:
    os.replace(f"{folder}/3millepede/prepared.json", f"{folder}/3millepede/metrics.json")
