"""The house: which package may import which, and how large a module, a function and a list of arguments may be."""

import ast
from pathlib import Path

import pytest

from tests.children import ROOT

# Each imports only what stands above it. A name is a package of ising_rg.
LAYERS = (
    ("base",),
    ("files", "theory"),
    ("run", "spins"),
    ("figures", "updates"),
    ("checks", "sampler", "geometry"),
    ("kernels",),
    ("renormalization",),
    ("growth",),
    ("exploring", "training"),
)
RANKS = {name: rank for rank, names in enumerate(LAYERS) for name in names}

LARGEST_MODULE, LARGEST_FUNCTION = 350, 60
PUBLIC, PRIVATE, COMPILED = (
    6,
    8,
    11,
)  # most parameters; compiled functions take arrays one by one, no objects that hold them
EXCEPTIONS = {
    "figures.deep_zoom.write": "what a pyramid is made of, from one script",
    "figures.pictures": "one function a figure, which share colours and helpers",
    "figures.pictures.simulation": "one array an axis",
    "base.random_numbers.philox4x32": "four counter words, two key words and the rounds: Philox itself",
    "checks.neighbourhoods._count_parts": "hands compiled loops their arrays",
    "growth.array.__init__": "a lattice's settings, by name",
    "sampler.likelihood_cpu.log_likelihoods": "compiled: a range of results, and arrays",
    "sampler.sampling_cpu.draw": "the entry of compiled loops: arrays, which no compiled function takes as an object",
    "sampler.sampling_cpu._fill_plane": "compiled: a tile's place and size, one by one",
    "spins.pairs._count_far": "called by threads with the arrays of a compiled loop",
    "sampler.sampling_cuda._step_kernel": "arguments of a launch, one a line",
    "sampler.sampling_cuda.draw_packed": "one launch after the other, in the order in which they run",
    "sampler.sampling_rows.half_row_of_uniforms": "compiled: arrays and the counter of their random numbers",
    "sampler.sampling_rows.row_of_uniforms": "compiled: arrays and the counter of their random numbers",
    "updates.bonds.break_at_random": "compiled: arrays and the counter of their random numbers",
    "updates.swendsen_wang.sample": "an ensemble: L, beta, n, seed, sweeps, first configuration, progress",
    "updates.swendsen_wang.sweep_words": "compiled: arrays and the counter of their random numbers",
}

PACKAGE = Path(ROOT) / "ising_rg"
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): ast.parse(path.read_text(encoding="utf-8"))
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
}


def imports(tree):
    """Yield the modules of ising_rg, as in MODULES, that a syntax tree imports anywhere, within functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ising_rg":
            package = ".".join(node.module.split(".")[1:])
            for alias in node.names:
                name = f"{package}.{alias.name}".lstrip(".")
                if name in MODULES or package in MODULES:
                    yield name if name in MODULES else package


def top(module):
    return module.split(".")[0]


def test_every_module_has_its_layer():
    assert {top(module) for module in MODULES} == set(RANKS)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_arrows_point_one_way(module):
    for other in imports(MODULES[module]):
        assert top(other) == top(module) or RANKS[top(other)] < RANKS[top(module)], f"{module} imports {other}"


def test_no_circle():
    """Within a package as well: take away modules that import none of those left, until none is left."""
    left = {module: set(imports(tree)) - {module} for module, tree in MODULES.items()}
    while free := [module for module, others in left.items() if not others & left.keys()]:
        for module in free:
            del left[module]
    assert not left, f"a circle among {sorted(left)}"


def oversized():
    for module, tree in MODULES.items():
        path = PACKAGE.joinpath(*module.split(".")).with_suffix(".py")
        if len(path.read_text(encoding="utf-8").splitlines()) > LARGEST_MODULE:
            yield module
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef):
                arguments = node.args.args + node.args.kwonlyargs
                n_parameters = sum(argument.arg not in ("self", "cls") for argument in arguments)
                compiled = any("jit" in ast.dump(decorator) for decorator in node.decorator_list)
                most = PUBLIC if not node.name.startswith("_") else COMPILED if compiled else PRIVATE
                too_many = n_parameters > most
                if too_many or node.end_lineno - node.lineno >= LARGEST_FUNCTION:
                    yield f"{module}.{node.name}"


def test_nothing_is_too_large():
    """Modules, functions and argument lists; exceptions have a reason, and one that is none any more is taken off the list."""
    assert set(oversized()) == set(EXCEPTIONS)
