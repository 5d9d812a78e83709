"""Measure the cost of a large DAG: rendering 1,000 files x 10 iterations, against writing the text without a template.

python benchmarks/rendering.py [--files 1000] [--iterations 10]
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import hook  # noqa: F401 - adds tests/support to the path
from campaigns import make_campaign

from faser_align.campaign import layout
from faser_align.dag.render import render


def by_hand(record: dict[str, Any]) -> str:
    """Return only the nodes and edges, joined by hand: the minimum work of any generator."""
    lines = []
    before = ""
    for iteration in range(1, record["stages"][0]["iterations"] + 1):
        nodes = [layout.reco_node(1, iteration, file) for file in record["files"]]
        for node, file in zip(nodes, record["files"], strict=True):
            lines += [f"JOB {node} reco", f'VARS {node} stage="1" iteration="{iteration}" file="{file}" folder="iter"']
        mille = layout.mille_node(1, iteration)
        lines += [f"JOB {mille} mille", f"PARENT {before} CHILD {' '.join(nodes)}" if before else ""]
        lines.append(f"PARENT {' '.join(nodes)} CHILD {mille}")
        before = mille
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--iterations", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        config = {"campaign": {"iterations": arguments.iterations}}
        record = make_campaign(Path(folder, "campaign"), files=1, config=config)
    record["files"] = list(range(arguments.files))
    started = time.perf_counter()
    text = render(record)
    ours = time.perf_counter() - started
    started = time.perf_counter()
    by_hand(record)
    hand = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.files} files x {arguments.iterations} iterations: {len(text) / 1e6:.1f} MB of DAG")
    print(
        f"  rendered in {ours:.2f} s   by hand {hand:.2f} s   ratio {ours / hand:.1f}   whole process at most {peak:.0f} MB"
    )


if __name__ == "__main__":
    main()
