"""Weight files (.pt): found, read and checked before a kernel takes them, with messages that say what is wrong and what to run."""

from __future__ import annotations

import contextlib
import os
import re

from ising_rg.base import environment
from ising_rg.base.errors import UserError
from ising_rg.files import storage

LARGEST_SIZE = 31  # of a kernel that is loaded, blocks
_LARGEST_WEIGHT = 1000.0  # a field of 10 already makes a spin certain
TRAIN_COMMAND = "run kernel_training_pixel_shuffle.py"
HOW_TO_SAVE = "torch.save(model.state_dict(), path) writes them"


def find(path: str) -> str:
    """Return the path, or that of a shipped file of this name, for scripts run from another folder."""
    beside = os.path.join(environment.HERE.parent, path)
    return beside if not os.path.exists(path) and os.path.isfile(beside) else path


def refusal(path: str, found: str, needed: str) -> UserError:
    """Return the UserError for a weight file, to be raised."""
    return UserError(f"{path}: found {found}, needed {needed}; {TRAIN_COMMAND}")


def keys(content: dict) -> str:
    """Return the first names in a file, for messages."""
    return f"keys {sorted(content)[:5]}"


def digest(path: str) -> str:
    """Return the SHA-256 of a weight file, which is that of its JSON if it has one; raise UserError if there is no such file."""
    with _told_how_to_make_one():
        found = storage.sha256(path)
        if storage.description(path).get("sha256", found) != found:
            raise UserError(
                f"{path}: found other bytes than those whose SHA-256 {storage.sidecar(path)} tells: restore the damaged file, "
                "or, if these weights are meant, remove that JSON"
            )
        return found


@contextlib.contextmanager
def _told_how_to_make_one():
    try:
        yield
    except UserError as error:
        raise UserError(f"{error}; to make one, {TRAIN_COMMAND}") from None


def read(path: str) -> tuple[dict, str]:
    """Return (content of a weight file, a dict whose names have lost the prefixes of wrappers; its SHA-256)."""
    found = digest(path)
    with _told_how_to_make_one():
        content = storage.load_pt(path)
    if not isinstance(content, dict):
        raise refusal(path, type(content).__name__, f"a kernel's weights; {HOW_TO_SAVE}")
    return without_prefixes(content), found


def without_prefixes(state):
    """Return a dict without what DataParallel and torch.compile put before the names of weights."""
    return {re.sub(r"^(module\.|_orig_mod\.)+", "", str(name)): value for name, value in state.items()}


def kernel_size(path: str, name: str, state: dict, n_channels: int) -> int:
    """Return k of the weight of this name, which must be (n_channels, 1, k, k) with an odd k."""
    shape = tuple(getattr(state.get(name), "shape", ()))
    if shape not in {(n_channels, 1, k, k) for k in range(3, LARGEST_SIZE + 1, 2)}:
        raise refusal(path, f"{name} of shape {shape}", f"({n_channels}, 1, k, k) with odd k from 3 to {LARGEST_SIZE}")
    return shape[-1]


def fill(path: str, module: object, state: dict, digest: str) -> object:
    """Return the module with the weights of a state_dict, checked, and with the `digest` of their file."""
    import torch  # slow; whoever only looks for a file does without

    if not isinstance(state, dict):
        raise refusal(path, f"state_dict {type(state).__name__}", f"a dict of tensors; {HOW_TO_SAVE}")
    state, expected = without_prefixes(state), module.state_dict()
    if state.keys() != expected.keys():
        missing, extra = (
            sorted(names)[:5] for names in (expected.keys() - state.keys(), state.keys() - expected.keys())
        )
        raise refusal(
            path,
            f"weights that do not fit: {missing} missing, {extra} too many",
            f"those of {type(module).__name__}; {HOW_TO_SAVE}",
        )
    for name, tensor in state.items():
        shape = tuple(expected[name].shape)
        floats, found = expected[name].is_floating_point(), getattr(tensor, "dtype", type(tensor).__name__)
        if not isinstance(tensor, torch.Tensor) or tensor.layout is not torch.strided:
            raise refusal(path, f"{name} of {found}", "a dense tensor")
        if tensor.is_floating_point() != floats or not floats and tensor.dtype != expected[name].dtype:
            raise refusal(path, f"{name} of {found}", "floats" if floats else str(expected[name].dtype))
        if tuple(tensor.shape) != shape:
            raise refusal(path, f"weights that do not fit: {name} of shape {tuple(tensor.shape)}", str(shape))
        if not torch.isfinite(tensor).all():
            raise refusal(path, f"{name} with values that are not finite", "finite weights")
        # Integers are in units of their own, which clamps bound.
        if floats and tensor.numel() and tensor.abs().max() > _LARGEST_WEIGHT:
            raise refusal(path, f"{name} up to {tensor.abs().max():.3g}", f"weights up to {_LARGEST_WEIGHT}")
    if not any(tensor.any() for name, tensor in state.items() if name.split(".")[0] in ("weights", "weight", "proj")):
        raise refusal(path, "weights that are all zero", "those of a trained kernel")
    module.load_state_dict(state)
    module.digest = digest
    return module.eval()
