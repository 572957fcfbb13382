"""All figures of speed in one session on one machine: what the tables of the documents quote.

    python -m benchmarks.all

Runs the benchmarks one after the other, then whole scripts, and writes what each found into OUTPUT, as JSON, with the machine
and the date, after each of them. Nothing else should run meanwhile. Takes some twenty minutes on two cores.
"""

import datetime
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time

from ising_rg.base import environment
from ising_rg.base.errors import UserError
from ising_rg.files import storage
from ising_rg.run import settings

# fmt: off
# ---------------------------------------------------------------------------------------------------------------------
OUTPUT = "results/benchmarks.json"   # where the figures go
ONLY = ""                            # names of some, with commas between; "": all
REPEATS = 5                          # runs of each script, of which the median counts
# ---------------------------------------------------------------------------------------------------------------------
# fmt: on

_GROWN = "spins_0000_stage3_L13824.npy"
BENCHMARKS = {
    "metropolis": ["bench_metropolis"],
    "swendsen_wang": ["bench_swendsen_wang"],
    "generation": ["bench_generation", "--largest=13824"],
    "windows": ["windows"],
    "exploring": ["exploring", "--steps=200"],
    "clusters": ["bench_clusters", "--scipy=false", f"--input={{grown}}/{_GROWN}"],
    "couplings": ["bench_couplings"],
}
SCRIPTS = {
    "grow 13824": ["fast_generating_multi_stage.py", "--output_dir={folder}"],
    "grow 41472 in 512 MiB": [
        "fast_generating_multi_stage.py",
        "--stages=4",
        "--max_memory=512MiB",
        "--save_stages=last",
        "--pictures=false",
        "--output_dir={folder}",
    ],
    "check 13824": ["checking.py", f"--input={{grown}}/{_GROWN}", "--output_dir={folder}"],
    "couplings 13824": ["renormalizing.py", f"--input={{grown}}/{_GROWN}", "--output_dir={folder}"],
    "geometry 13824": ["cluster_geometry.py", f"--input={{grown}}/{_GROWN}", "--output_dir={folder}"],
}


def main(s):
    wanted = s.ONLY.split(",") if s.ONLY else [*BENCHMARKS, *SCRIPTS]
    if unknown := set(wanted) - {*BENCHMARKS, *SCRIPTS}:
        raise UserError(f"ONLY: found {', '.join(unknown)}, needed some of {', '.join([*BENCHMARKS, *SCRIPTS])}")
    about = settings.provenance(s, machine=machine(), date=datetime.date.today().isoformat())
    with tempfile.TemporaryDirectory() as temporary:
        grown = os.path.join(temporary, "grown")
        finished(["fast_generating_multi_stage.py", f"--output_dir={grown}"])
        results = {}
        for name in wanted:
            folder = os.path.join(temporary, "out")
            if name in BENCHMARKS:
                module, *arguments = (part.format(grown=grown) for part in BENCHMARKS[name])
                said, _ = finished(["-m", f"benchmarks.{module}", *arguments])
                results[name] = json.loads(said.splitlines()[-1])
            else:
                command = [part.format(grown=grown, folder=folder) for part in SCRIPTS[name]]
                seconds = [finished(command)[1] for _ in range(s.REPEATS + 1)][1:]  # the first may compile
                results[name] = {"seconds": statistics.median(seconds), "all": seconds}
            print(f"{name}: {json.dumps(results[name])[:200]}")
            storage.make_folder(os.path.dirname(s.OUTPUT) or ".")
            storage.save_json(s.OUTPUT, {**about, "results": results})


def finished(command):
    """Run a script or module; return (what it printed, seconds)."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *command], cwd=environment.HERE.parent, capture_output=True, text=True)
    if done.returncode not in (0, 1):  # 1: a verdict
        raise UserError(f"{' '.join(command)}: found exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return done.stdout, time.perf_counter() - start


def machine():
    """Return the processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return f"{name}, {environment.n_cores()} cores"


if __name__ == "__main__":
    settings.run(main, globals())
