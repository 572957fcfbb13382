"""Which device computes, and why, in one line."""

import numba

from ising_rg.errors import UserError


def choose(device, training=False):
    """Return "cpu" or "cuda" for the setting DEVICE ("auto", "cpu", "cuda") and print one line that says which and why.

    Only training runs on CUDA so far: the sweeps and the sampler are CPU kernels.

    Raises:
        UserError: another name, or "cuda" where it cannot be used.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f'DEVICE: found "{device}", needed auto, cpu or cuda')
    reason = "as set"
    chosen = device
    if training:
        import torch

        has_cuda = torch.cuda.is_available()
        if device == "cuda" and not has_cuda:
            raise UserError("DEVICE: found cuda, but torch sees no CUDA GPU; use --device=auto or --device=cpu")
        if device == "auto":
            chosen, reason = ("cuda", torch.cuda.get_device_name()) if has_cuda else ("cpu", "torch sees no CUDA GPU")
    else:
        if device == "cuda":
            raise UserError(
                "DEVICE: found cuda, but sweeps and sampling run on the CPU only; use --device=auto or --device=cpu"
            )
        if device == "auto":
            chosen, reason = "cpu", "sweeps and sampling are CPU kernels"
    threads = f", {numba.get_num_threads()} threads" if chosen == "cpu" else ""
    print(f"device: {chosen}{threads} ({reason})")
    return chosen
