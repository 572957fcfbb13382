"""Which device computes, and why, in one line."""

import numba

from ising_rg.errors import UserError


def choose(device, training=False):
    """Return "cpu" or "cuda" for the setting DEVICE ("auto", "cpu", "cuda") and print one line that says which and why.

    "cuda" runs the Metropolis sweeps, or training, on the GPU; Swendsen-Wang and the sampler are CPU kernels.

    Raises:
        UserError: another name, or "cuda" where it cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f'DEVICE: found "{device}", needed auto, cpu or cuda')
    chosen, reason = device, "as set"
    if device != "cpu":
        obstacle = _training_obstacle() if training else _sweep_obstacle()
        if obstacle and device == "cuda":
            raise UserError(f"DEVICE: found cuda, but {obstacle}; use --device=auto or --device=cpu")
        chosen, reason = ("cpu", obstacle) if obstacle else ("cuda", "training" if training else "Metropolis sweeps")
    threads = f", {numba.get_num_threads()} threads" if chosen == "cpu" else ""
    print(f"device: {chosen}{threads} ({reason})")
    return chosen


def _training_obstacle():
    import torch

    return None if torch.cuda.is_available() else "torch sees no CUDA GPU"


def _sweep_obstacle():
    from ising_rg import metropolis_cuda

    return metropolis_cuda.unavailable()
