"""Run as a job of a fraction of a second: python -I -S stub.py ORDERS NODE, in the campaign's folder.

It writes the files that scripts expect, atomically, like the real jobs. ORDERS is a folder: a file NODE in it has the
exit status with which that node always fails; ``metrics_ITERATION.json`` is a Millepede node's output; ``wait_s`` is
the duration of jobs, ``NODE.wait_s`` that of one node, ``NODE.eats_mb`` the memory it uses. The durations may change
meanwhile.
"""

import os
import shutil
import sys
import time


def main(orders: str, node: str) -> int:
    memory = b""
    if os.path.exists(f"{orders}/{node}.eats_mb"):
        with open(f"{orders}/{node}.eats_mb") as file:
            memory = b"\1" * (int(file.read()) << 20)
    begun = time.monotonic()
    while (left_s := begun + wait_s(orders, node) - time.monotonic()) > 0:
        time.sleep(min(left_s, 0.5))
    del memory
    if os.path.exists(f"{orders}/{node}"):
        print(f"{node} fails as ordered", file=sys.stderr)
        with open(f"{orders}/{node}") as file:
            return int(file.read())
    kind, _, iteration, *rest = node.split("_")
    folder = f"iter{iteration[1:]}"
    if kind == "reco":
        size = 1000
        head = b"root" + (62400).to_bytes(4, "big") + (100).to_bytes(4, "big") + size.to_bytes(4, "big")
        leave(f"{folder}/2kfalignment/kfalignment_011705_{rest[0]}.root", head.ljust(size, b"\0"))
        leave(f"{folder}/2kfalignment/mp2input_011705_{rest[0]}.bin", b"")
    else:
        leave(f"{folder}/3millepede/inputforalign.txt", b'"00": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]\n')
        with open(f"{orders}/metrics_{int(iteration[1:])}.json", "rb") as metrics:
            leave(f"{folder}/3millepede/metrics.json", metrics.read())
        following = f"iter{int(iteration[1:]) + 1:02d}/1reco"
        if os.path.isdir(following):
            shutil.copyfile(f"{folder}/3millepede/inputforalign.txt", f"{following}/inputforalign.txt")
    return 0


def wait_s(orders: str, node: str) -> float:
    own = f"{orders}/{node}.wait_s"
    with open(own if os.path.exists(own) else f"{orders}/wait_s") as file:
        return float(file.read() or "0.1")  # it is empty just before it is rewritten


def leave(path: str, content: bytes) -> None:
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(content)
    os.replace(temporary, path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
