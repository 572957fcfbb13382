"""Scripts run as children of a process that has imported everything, so that a run starts at once and can be killed and
started again many times; and as processes of torchrun."""

import contextlib
import hashlib
import importlib
import io
import json
import multiprocessing
import multiprocessing.connection
import os
import socket
import subprocess
import sys
import tempfile
import time

import psutil

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SCRIPTS = [
    "data_collecting",
    "batching",
    "kernel_training_pixel_shuffle",
    "fast_generating_single_stage",
    "fast_generating_multi_stage",
    "normal_fast_2d_Ising",
    "checking",
    "viewing",
    "renormalizing",
    "cluster_geometry",
    "exploring",
]


_MODULES = [
    "ising_rg.sampler.sampling_cpu",
    "ising_rg.updates.metropolis_cpu",
    "ising_rg.kernels.quality",
    "matplotlib.figure",
    "tests.compiled",
]  # what they import late, and compile


def start(script, arguments, output, errors=None, patch=None, cwd=ROOT, environment=None):
    """Start a script in a child of a process that has imported everything; return the multiprocessing.Process.

    Args:
        script: name, without .py.
        output: file that takes its output; its errors too, unless `errors` names one for them.
        patch: function of a test module, called in the child before the script.
        environment: dict of variables that the child has beside those of this process.
    """
    context = multiprocessing.get_context("forkserver")
    os.environ["PYTHONPATH"] = ROOT
    context.set_forkserver_preload([*SCRIPTS, *_MODULES])
    process = context.Process(
        target=_run, args=(script, arguments, str(output), str(errors or output), patch, cwd, environment or {})
    )
    process.start()
    return process


def _run(script, arguments, output, errors, patch, cwd, environment):
    from ising_rg.run import settings

    for number, name in ((1, output), (2, errors)):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.argv = [script, *arguments]
    os.environ |= environment
    os.chdir(cwd)
    if patch:
        patch()
    module = importlib.import_module(script)
    settings.run(module.main, vars(module))


def run(script, *arguments, **options):
    """Run a script to its end as `start` does; return a subprocess.CompletedProcess."""
    with tempfile.TemporaryDirectory() as folder:
        names = [os.path.join(folder, name) for name in ("output", "errors")]
        process = start(script, arguments, *names, **options)
        process.join()
        texts = []
        for name in names:
            with open(name, encoding="utf-8") as file:
                texts.append(file.read())
    return subprocess.CompletedProcess([script, *arguments], process.exitcode, *texts)


def call(script, *arguments):
    """Run a script to its end in this process; return a CompletedProcess. What is no exit, such as a ValueError, is raised."""
    from ising_rg.run import settings

    module, before = importlib.import_module(script), sys.argv
    sys.argv = [script, *arguments]
    output, errors, status = io.StringIO(), io.StringIO(), 0
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
            settings.run(module.main, vars(module))
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return subprocess.CompletedProcess([script, *arguments], status, output.getvalue(), errors.getvalue())


def one_thread():
    """In a child: what NUMBA_NUM_THREADS=1 does."""
    import numba

    numba.set_num_threads(1)


def two_threads():
    """In a child: two, whatever the environment says, as far as the machine has them."""
    import numba

    numba.set_num_threads(min(2, numba.config.NUMBA_NUM_THREADS))


def small_fits():
    """In a child that trains: fewer products to choose from, classes to calibrate, lattices to look at, temperatures: less work."""
    import kernel_training_pixel_shuffle as script
    from ising_rg.training import calibration, off_critical, regression

    classes, lattices = calibration.tap_classes, script.start_lattices
    regression.CANDIDATES, off_critical.XI = 4, (8.0, -8.0, -20.0)
    calibration.tap_classes = lambda kernel: dict(list(classes(kernel).items())[:4])
    script.start_lattices = lambda s, n, L=64: lattices(s, min(n, 16), L)


def run_together(n, script, *arguments, patch=None, timeout=400, agent=True, environment=None):
    """Run a script in n children with the variables that torchrun sets; return a CompletedProcess of their merged output.

    As torchrun does, this process hosts the store, unless `agent` is false (then the first child does), and ends the others
    when one fails; the exit status is that of the first that failed. patch, environment: as in `start`.
    """
    from torch.distributed import TCPStore

    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) if agent else None
    port = store.port if agent else free_port()
    shared = {"WORLD_SIZE": n, "LOCAL_WORLD_SIZE": n, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if agent:
        shared |= {"TORCHELASTIC_USE_AGENT_STORE": True, "TORCHELASTIC_RUN_ID": "test"}
    with tempfile.TemporaryDirectory() as folder:
        output = os.path.join(folder, "output")
        running = []
        for rank in range(n):
            own = {key: str(value) for key, value in (shared | {"RANK": rank, "LOCAL_RANK": rank}).items()}
            running.append(start(script, arguments, output, patch=patch, environment=own | (environment or {})))
        status, deadline = 0, time.monotonic() + timeout
        while running:
            left = max(0, deadline - time.monotonic())
            multiprocessing.connection.wait([process.sentinel for process in running], left)
            codes = [process.exitcode for process in running]
            failed = [code for code in codes if code]
            running = [process for process, code in zip(running, codes, strict=True) if code is None]
            if status:  # those that are left were told to end
                for process in running if not left else ():
                    process.kill()
            elif failed or not left:
                status, deadline = failed[0] if failed else "timed out", time.monotonic() + 30
                for process in running:
                    process.terminate()
        with open(output, encoding="utf-8") as file:
            text = file.read()
    return subprocess.CompletedProcess([script, *arguments], status, text)


def run_on_cuda(program):
    """Run a Python program that prints "identical", in a process of its own: in Numba's simulator, or on a GPU if that is off."""
    environment = {
        "NUMBA_ENABLE_CUDASIM": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (ROOT, os.environ.get("PYTHONPATH")))),
    }
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=ROOT)
    assert done.returncode == 0 and "identical" in done.stdout, done.stdout + done.stderr


def free_port():
    """Return a port that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


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
        if name.endswith("_report.json"):
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
