"""Weight files: saving, loading and checking of kernels and block-spin rules."""

from __future__ import annotations

import math
import os

import numpy as np
import torch

from ising_rg.files import storage
from ising_rg.kernels import weight_files
from ising_rg.kernels.block_spin import TRIPLES, BlockSpinRule
from ising_rg.kernels.conditional import ConditionalKernel
from ising_rg.kernels.form import DRAWING_ORDER
from ising_rg.kernels.independent import IndependentKernel
from ising_rg.kernels.kernel import Kernel
from ising_rg.kernels.symmetry import symmetrized
from ising_rg.sampler.sampling import SCALE

_LARGEST_DEGREE = 8  # of polynomials in the mass
_LARGEST_A = 2.0  # of the original's bound of means, which training leaves free; above 1 it binds nothing


def save(path: str, kernel: Kernel | BlockSpinRule, description: dict) -> None:
    """Write a kernel or block-spin rule and, as JSON beside it, where it comes from and its SHA-256."""
    storage.drop_description(path)
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in kernel.state_dict().items()}
    if isinstance(kernel, ConditionalKernel):
        storage.save_pt(
            path,
            {
                "kernel": "conditional",
                "kernel_size": kernel.kernel_size,
                "radius": kernel.radius,
                "two_pass": list(kernel.two_pass),
                "clamped": kernel.clamped,
                "form": [[torch.from_numpy(places) for places in lists] for lists in (kernel.taps, kernel.products)],
                "drawing_order": list(DRAWING_ORDER),
                "state_dict": state,
            },
        )
    elif isinstance(kernel, BlockSpinRule):
        state["weight"] = symmetrized(state["weight"]).contiguous()
        storage.save_pt(path, {"kernel": "block_spin_rule", "state_dict": state})
    else:
        storage.save_pt(path, {name: tensor for name, tensor in state.items() if not name.startswith("rule.")})
    storage.save_json(storage.sidecar(path), {**description, "sha256": storage.sha256(path)})


def load(path: str) -> ConditionalKernel | IndependentKernel:
    """Return the kernel of a weight file, a ConditionalKernel or an IndependentKernel; its `digest` is the file's SHA-256.

    A path that is not there is looked for beside the scripts too, where the shipped files are.

    Raises:
        UserError: no such file, a damaged or foreign one, weights that no training gives, or a block-spin rule, which
            generates nothing.
    """
    path = weight_files.find(path)
    content, digest = weight_files.read(path)
    if content.get("kernel") == "conditional":
        size, radius, order = (content.get(name) for name in ("kernel_size", "radius", "drawing_order"))
        if type(size) is not int or size not in range(1, weight_files.LARGEST_SIZE + 1, 2):
            raise weight_files.refusal(
                path, f"kernel_size {size!r}", f"an odd number up to {weight_files.LARGEST_SIZE}"
            )
        if type(radius) is not float or not 0 < radius < math.inf:
            raise weight_files.refusal(path, f"radius {radius!r}", "a positive number of sites")
        if order != list(DRAWING_ORDER):
            raise weight_files.refusal(path, f"drawing_order {order!r}", str(list(DRAWING_ORDER)))
        state = content.get("state_dict")
        if not isinstance(state, dict):
            raise weight_files.refusal(path, f"state_dict {type(state).__name__}", "a dict of tensors")
        state = weight_files.without_prefixes(state)
        rule = _rule(path, "rule.", state)
        kernel = _conditional(path, content, size, radius, rule, _degree(path, "slopes.0", state))
        kernel = weight_files.fill(path, kernel, state, digest)
    elif "proj.weight" in content:
        size = weight_files.kernel_size(path, "proj.weight", content, SCALE**2)
        kernel = weight_files.fill(path, IndependentKernel(size), content, digest)
        if not 0 < kernel.A.item() <= _LARGEST_A:
            raise weight_files.refusal(
                path, f"A = {kernel.A.item():g}", f"a bound of means, above 0 and at most {_LARGEST_A}"
            )
        rule_file = storage.description(path).get("block_rule_file")  # a bare state_dict has no room for it
        if isinstance(rule_file, str) and os.path.exists(weight_files.find(rule_file)):
            kernel.rule = load_rule(rule_file)
    else:
        raise weight_files.refusal(
            path,
            weight_files.keys(content),
            f"a kernel of this project, or proj.weight, w1, A of the original; {weight_files.HOW_TO_SAVE}",
        )
    return kernel


def load_rule(path: str) -> BlockSpinRule:
    """Return the BlockSpinRule of a weight file, its `digest` as for `load`; raises UserError as that."""
    path = weight_files.find(path)
    content, digest = weight_files.read(path)
    state = content.get("state_dict")
    if content.get("kernel") != "block_spin_rule" or not isinstance(state, dict):
        raise weight_files.refusal(path, weight_files.keys(content), "a block-spin rule")
    state = weight_files.without_prefixes(state)
    rule = _rule(path, "", state)
    return weight_files.fill(path, rule, state, digest)


def _rule(path, prefix, state):
    """Return the BlockSpinRule of the form that a state_dict tells, not filled."""
    size = weight_files.kernel_size(path, f"{prefix}weight", state, 1)
    n_triples = tuple(getattr(state.get(f"{prefix}triple"), "shape", (0,)))
    if len(n_triples) != 1 or n_triples[0] > len(TRIPLES):
        raise weight_files.refusal(path, f"{prefix}triple of {n_triples}", f"at most {len(TRIPLES)} numbers")
    degree = _degree(path, f"{prefix}weight_slopes", state)
    return BlockSpinRule(size, degree, n_triples[0] or 2)


def _degree(path, name, state):
    """Return the degree in the mass of the weights of a file."""
    degree = tuple(getattr(state.get(name), "shape", (0,)))[0] if name in state else 0
    if degree > _LARGEST_DEGREE:
        raise weight_files.refusal(path, f"{name} of degree {degree}", f"at most {_LARGEST_DEGREE}")
    return degree


def _conditional(path, content, size, radius, rule, degree):
    """Return the untrained ConditionalKernel of the form that a file tells."""
    try:
        taps, products = ([places.numpy() for places in lists] for lists in content["form"])
        form = {"two_pass": content["two_pass"], "clamped": content["clamped"], "form": (taps, products)}
        kernel = ConditionalKernel(size, radius, **form, rule=rule, degree=degree)
        for places in (*kernel.taps, *kernel.products):
            if places.dtype != np.int64 or places.shape[-1] != 3:
                raise ValueError(f"places of {places.dtype}, {places.shape}")
            if places.size and np.abs(places[..., 1:]).max() > kernel.reach:
                raise ValueError(f"a place {np.abs(places[..., 1:]).max()} blocks away")
        kernel.program()  # that each step sees what was drawn before it
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise weight_files.refusal(path, f"a form that does not fit ({error})", "that of a trained kernel") from None
    return kernel
