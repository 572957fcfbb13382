"""Where the words of a packed lattice are: in a numpy array, or on an NVIDIA GPU.

On the GPU they are a torch tensor that numba-cuda's kernels use in place, on torch's current stream.
NUMBA_ENABLE_CUDASIM=1 runs the same kernels in Numba's simulator, without a GPU. numba.cuda and torch are slow to import, and
of use on few machines: they are imported where a GPU is asked for.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ising_rg.spins.lattice import PackedLattice, Place, words_per_row


def to_device(packed: PackedLattice, device: str) -> PackedLattice:
    """Return a PackedLattice on "cpu" or "cuda": the same one if it is there, else a copy.

    Raises:
        ValueError: another device.
    """
    if device not in ("cpu", "cuda"):
        raise ValueError(f'device: found "{device}", needed "cpu" or "cuda"')
    if packed.device == device:
        return packed
    if device == "cpu":
        words = packed.words.copy_to_host() if simulated() else packed.words.cpu().numpy().view(np.uint64)
    elif simulated():
        from numba import cuda

        words = cuda.to_device(packed.words)
    else:
        import torch

        words = torch.from_numpy(packed.words.view(np.int64)).cuda()
    return replace(packed, words=words)


def to_host(packed: PackedLattice) -> PackedLattice:
    """Return a PackedLattice in the host's memory: the same one if it is there, else a copy."""
    return to_device(packed, "cpu")


def empty_on_gpu(n_configurations: int, height: int, width: int, place: Place | None = None) -> PackedLattice:
    """Return a PackedLattice of zero bits on the GPU; arguments as `lattice.empty`."""
    shape = (n_configurations, 2, height + 2, words_per_row(width))
    if simulated():
        from numba import cuda

        words = cuda.to_device(np.zeros(shape, np.uint64))
    else:
        import torch

        words = torch.zeros(shape, dtype=torch.int64, device="cuda")
    return PackedLattice(words, height, width, place)


def kernel_view(words: object) -> tuple:
    """Return (uint64 device array that shares memory with `words` on the GPU, stream to launch on)."""
    if simulated():
        return words, 0
    import torch
    from numba import cuda

    return cuda.as_cuda_array(words).view(np.uint64), cuda.external_stream(torch.cuda.current_stream().cuda_stream)


def wait(device: str) -> None:
    """Return once everything launched on "cuda" is done, at once on "cpu": a launch returns before its kernel has run."""
    if device == "cuda" and not simulated():
        import torch

        torch.cuda.synchronize()


def simulated() -> bool:
    """Tell whether the kernels run in Numba's CUDA simulator."""
    from numba import config

    return bool(config.ENABLE_CUDASIM)
