"""The house: imports point one way, from each room to the rooms below it. Run it as a script to see the arrows."""

import ast
import graphlib
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom to the top. "rnnbench" is the package's own face, rnnbench/__init__.py.
FLOORS = (
    "rnnbench.network",
    "rnnbench.measure",
    "rnnbench.theano_runtime",
    "rnnbench.variants",
    "rnnbench.history",
    "rnnbench.verify",
    "rnnbench.cases",
    "rnnbench",
    "benchmarks",
    "rnnbench.report",
    "rnnbench.asv_plugin",
    "rnnbench.cli",
    "rnnbench.__main__",
)
PUBLIC = "rnnbench"


def modules(root):
    """Return the path of each module of rnnbench/ and benchmarks/, by its name."""
    found = {}
    for folder in ("rnnbench", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root):
    """Return the modules that each module imports, also within functions and by importlib.import_module."""
    known = modules(root)
    found = defaultdict(set)
    for name, path in known.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        for node in ast.walk(ast.parse(path.read_text())):
            targets = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                parents = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(filter(None, [*(parents if node.level else ()), node.module]))
                # A name is a module of that package, or else its own.
                targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                targets = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found[name] |= {target for target in targets if target in known and target != name}
    return found


def floor_of(module):
    return max((floor for floor in FLOORS if f"{module}.".startswith(f"{floor}.")), key=len)


def arrows(root):
    """Return how many imports lead from one floor to another."""
    return Counter(
        (floor_of(module), floor_of(target))
        for module, targets in imports(root).items()
        for target in targets
        if floor_of(module) != floor_of(target)
    )


def faults(root):
    """Return a sentence for each import that runs up, and for a circle."""
    found = imports(root)
    told = [
        f"{module} imports {target}, which lies above it"
        for module, targets in found.items()
        for target in sorted(targets)
        if FLOORS.index(floor_of(target)) > FLOORS.index(floor_of(module))
    ]
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as circle:
        told.append(f"imports go round in a circle: {' → '.join(circle.args[1])}")
    return told


def test_imports_point_one_way():
    assert faults(ROOT) == []


def test_every_room_has_a_floor():
    rooms = {".".join(module.split(".")[:2]) for module in modules(ROOT) if module.startswith("rnnbench.")}
    assert rooms | {"rnnbench", "benchmarks"} == set(FLOORS)


def test_benchmarks_import_public_names_alone():
    import rnnbench

    for module, targets in imports(ROOT).items():
        if module.startswith("benchmarks"):
            assert {target for target in targets if not target.startswith("benchmarks")} <= {PUBLIC}
            for node in ast.walk(ast.parse(modules(ROOT)[module].read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == PUBLIC:
                    assert {alias.name for alias in node.names} <= set(rnnbench.__all__)


@pytest.mark.parametrize(
    ("file", "line", "said"),
    [
        ("network/shapes.py", "from rnnbench import variants", "network.shapes imports rnnbench.variants"),
        ("measure/clock.py", "def f():\n    import rnnbench.history.figures", "measure.clock imports rnnbench.history"),
        ("variants/scan.py", "importlib.import_module('rnnbench.cli')", "variants.scan imports rnnbench.cli"),
        ("network/workload.py", "from rnnbench.network import reference", "round in a circle"),
    ],
)
def test_an_arrow_that_runs_up_and_a_circle_are_found(file, line, said, tmp_path):
    for path in modules(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() + (f"\n{line}\n" if path == ROOT / "rnnbench" / file else ""))
    assert any(said in fault for fault in faults(tmp_path))


if __name__ == "__main__":
    for (upper, lower), count in sorted(arrows(ROOT).items(), key=lambda one: [-FLOORS.index(end) for end in one[0]]):
        print(f"{upper} → {lower}  {count}")
    sys.exit("\n".join(faults(ROOT)) or 0)
