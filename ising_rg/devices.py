"""Which device computes, and why, in one line."""

import numba

from ising_rg.errors import UserError


def choose(device, work="Metropolis sweeps"):
    """Return "cpu" or "cuda" for the setting DEVICE ("auto", "cpu", "cuda") and print one line that says which and why.

    Args:
        work: what the GPU is for, one of OBSTACLES. Swendsen-Wang always runs on the CPU.

    Raises:
        UserError: another name, or "cuda" where it cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f'DEVICE: found "{device}", needed auto, cpu or cuda')
    chosen, reason = device, "as set"
    if device != "cpu":
        obstacle = OBSTACLES[work]()
        if obstacle and device == "cuda":
            raise UserError(f"DEVICE: found cuda, but {obstacle}; use --device=auto or --device=cpu")
        chosen, reason = ("cpu", obstacle) if obstacle else ("cuda", work)
    threads = f", {numba.get_num_threads()} threads" if chosen == "cpu" else ""
    print(f"device: {chosen}{threads} ({reason})")
    return chosen


def _training_obstacle():
    import torch

    return None if torch.cuda.is_available() else "torch sees no CUDA GPU"


def _sweep_obstacle():
    from ising_rg.updates import metropolis_cuda

    return metropolis_cuda.unavailable()


def _growth_obstacle():
    from ising_rg.kernels import sampling_cuda

    return _sweep_obstacle() or sampling_cuda.unlike_the_cpu()


OBSTACLES = {"Metropolis sweeps": _sweep_obstacle, "growth": _growth_obstacle, "training": _training_obstacle}
