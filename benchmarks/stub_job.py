"""Run as a job of 0.2 s that writes what scripts expect: python -I -S stub_job.py NODE (in the campaign's folder)."""

import sys
import time

kind, stage, iteration = sys.argv[1].split("_")[:3]
time.sleep(0.2)
folder = f"iter{iteration[1:]}"
if kind == "reco":
    file = int(sys.argv[1].split("_")[3])
    size = 1000
    head = b"root" + (62400).to_bytes(4, "big") + (100).to_bytes(4, "big") + size.to_bytes(4, "big")
    with open(f"{folder}/2kfalignment/kfalignment_011705_{file:05d}.root", "wb") as root:
        root.write(head.ljust(size, b"\0"))
    open(f"{folder}/2kfalignment/mp2input_011705_{file:05d}.bin", "wb").close()
else:
    with open(f"{folder}/3millepede/metrics.json", "w") as metrics:
        metrics.write(
            f'{{"stage": 1, "iteration": {int(iteration[1:])}, "tracks": {{"used": 18000}}, "chi2_per_ndf": 1.0, '
            f'"significance": 1.0, "effect_um": {9 - int(iteration[1:])}, "steps": []}}'
        )
