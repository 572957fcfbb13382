"""Scripts run as children of a process that has imported everything, so that a run starts at once and can be killed and
started again many times; and as processes of torchrun."""

import hashlib
import importlib
import json
import multiprocessing
import os
import subprocess
import sys

import psutil

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = ["fast_generating_multi_stage", "data_collecting", "kernel_training_pixel_shuffle"]


def start(script, arguments, output, patch=None):
    """Start a script in a child whose output goes into a file; `patch`, importable, is called before it. Return the process."""
    context = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = ROOT
    context.set_forkserver_preload([*SCRIPTS, "ising_rg.sampling_cpu", "ising_rg.metropolis_cpu"])
    process = context.Process(target=_run, args=(script, arguments, str(output), patch))
    process.start()
    return process


def _run(script, arguments, output, patch):
    from ising_rg import settings

    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    sys.argv = [script, *arguments]
    os.chdir(ROOT)
    if patch:
        patch()
    module = importlib.import_module(script)
    settings.run(module.main, vars(module))


def torchrun(n, script, *arguments):
    """Start a script in n processes with torchrun; return the Popen of torchrun, which merges their output."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n}"]
    command = [sys.executable, *launcher, os.path.join(ROOT, script), *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def rank(launcher, number):
    """Return the psutil.Process of one process of a torchrun."""
    (found,) = [
        child
        for child in psutil.Process(launcher.pid).children(recursive=True)
        if child.environ().get("RANK") == str(number)
    ]
    return found


def files(folder):
    """Return {name: SHA-256} of everything that a finished run has left but the clock's readings."""
    result = {}
    for name in sorted(os.listdir(folder)):
        with open(os.path.join(folder, name), "rb") as file:
            content = file.read()
        if name == "report.json":
            report = json.loads(content)
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in report["rows"]]
            content = json.dumps([rows, report["checks"]]).encode()
        elif name.endswith(".json"):
            described = json.loads(content)
            # How it was made and where, not what it is.
            for key in ("OUTPUT_DIR", "MAX_MEMORY", "SAVE_DIR"):
                described.get("settings", {}).pop(key, None)
            content = json.dumps(described).encode()
        result[name] = hashlib.sha256(content).hexdigest()
    return result
