"""What a run of growth makes, how, and where it goes: one description, handed to whatever takes part."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from ising_rg.growth import upsampling
from ising_rg.growth.region import Region
from ising_rg.run import kinds
from ising_rg.sampler.sampling import SCALE

BATCH_SITES = 2**28  # of final lattices grown side by side: small ones go faster together
_BYTES_PER_FINE_SITE = 0.3  # the fine lattice, the coarse one, one configuration row by row: a bit a spin each
_BYTES_BESIDE = 2**28  # tiles of the sampler, the check, a part of a file


@dataclass(frozen=True)
class Run:
    """Configurations start_size -> 3 start_size -> 9 start_size -> ... sites per side; J = k_B = 1."""

    kernels: list  # from `stage_temperatures.kernels`: None for the start lattice, then that of each stage
    device: str  # "cpu" or "cuda", where kernel and sweeps run
    start_size: int  # sites per side of the start lattice
    sweeps: tuple[int, ...]  # Metropolis sweeps after each stage; as many stages
    n_configurations: int
    betas: list[float]  # inverse temperatures: of the start lattice, then of each stage
    seed: int  # names the configurations
    folder: str = ""  # where the files go
    saved: str = "none"  # configurations to write: "last", "all" (with the start lattice) or "none"
    file_format: str = "bits"  # "int8", a byte a spin, or "bits"
    checked: bool = False  # whether every final lattice is compared with exact theory
    describe: Callable[..., dict] = dict  # called with measured values by name; returns the content of a sidecar
    window: Region | None = None  # of the last lattices, which is all that is made; else they are made whole
    whole_start: int = (
        kinds.MAX_SITES
    )  # sites of the largest start lattice that cluster sweeps make; windows of larger ones by themselves

    @property
    def last(self) -> int:
        """The last stage; 0 is the start lattice."""
        return len(self.sweeps)

    def size(self, stage: int) -> int:
        """Return the sites per side of a stage."""
        return self.start_size * SCALE**stage

    @property
    def final_size(self) -> int:
        return self.size(self.last)

    @property
    def target(self) -> Region:
        """What is made of the last lattices."""
        return self.window or Region(0, 0, self.final_size, self.final_size)

    def path(self, config: int, stage: int) -> str:
        """Return the name of the file of a configuration of a stage, or of its window."""
        window = f"_y{self.window.row}_x{self.window.column}" if self.window else ""
        return os.path.join(self.folder, f"spins_{config:04d}_stage{stage}_L{self.size(stage)}{window}.npy")

    def is_kept(self, stage: int) -> bool:
        return self.saved == "all" or (self.saved == "last" and stage == self.last)

    def stage(self, stage: int) -> upsampling.Stage:
        """Return what is done in one stage, 1 ... last."""
        seed = upsampling.stage_seed(self.seed, stage)
        return upsampling.Stage(self.kernels[stage], self.betas[stage], self.sweeps[stage - 1], seed, self.device)

    def batch_size(self, n_processes: int = 1) -> int:
        """Return how many configurations are grown side by side in memory."""
        share = -(-self.n_configurations // n_processes)
        return max(1, min(share, BATCH_SITES // self.final_size**2))

    def bytes_in_memory(self) -> int:
        """Return the bytes of memory that growing in memory takes beside Python and its libraries."""
        return int(_BYTES_PER_FINE_SITE * self.batch_size() * self.final_size**2) + _BYTES_BESIDE

    def bytes_of_files(self, streamed: bool) -> int:
        """Return the bytes of disk that the run takes at most, at once."""
        shapes = [(self.size(stage),) * 2 for stage in range(self.last)] + [self.target[2:]]
        each = [height * (-(-width // 8) if self.file_format == "bits" else width) for height, width in shapes]
        kept = self.n_configurations * sum(n for stage, n in enumerate(each) if self.is_kept(stage))
        return kept + (each[-1] if streamed and not self.is_kept(self.last) else 0)
