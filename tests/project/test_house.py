"""Tests that imports point one way, from each layer of the code to lower layers.

Run this file as a script to see how many imports lead from one layer to another.
"""

import ast
import graphlib
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# From the bottom to the top. The layer "rnnbench" is rnnbench/__init__.py alone, the public names.
LAYERS = (
    "rnnbench.network",
    "rnnbench.measure",
    "rnnbench.theano_runtime",
    "rnnbench.fused",
    "rnnbench.variants",
    "rnnbench.live",
    "rnnbench.history",
    "rnnbench.verify",
    "rnnbench.cases",
    "rnnbench",
    "rnnbench.worker",
    "benchmarks",
    "rnnbench.report",
    "rnnbench.cluster",
    "rnnbench.asv_plugin",
    "rnnbench.cli",
    "rnnbench.__main__",
)
PUBLIC = "rnnbench"


def modules(root):
    """Return a dict from the name of each module in rnnbench/ and benchmarks/ to its path."""
    found = {}
    for folder in ("rnnbench", "benchmarks"):
        for path in (root / folder).rglob("*.py"):
            parts = path.relative_to(root).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(root):
    """Return a dict from each module's name to the modules that it imports.

    This includes imports inside functions, and calls of importlib.import_module.
    """
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
                # `from package import name` imports the module package.name if there is one, else package.
                targets = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
            elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                targets = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
            found[name] |= {target for target in targets if target in known and target != name}
    return found


def layer_of(module):
    return max((layer for layer in LAYERS if f"{module}.".startswith(f"{layer}.")), key=len)


def counts_between_layers(root):
    """Return the number of imports for each pair of layers (importing, imported)."""
    return Counter(
        (layer_of(module), layer_of(target))
        for module, targets in imports(root).items()
        for target in targets
        if layer_of(module) != layer_of(target)
    )


def faults(root):
    """Return a sentence for each module that imports from a higher layer, and one if imports are circular."""
    found = imports(root)
    sentences = [
        f"{module} imports {target}, which is in a higher layer"
        for module, targets in found.items()
        for target in sorted(targets)
        if LAYERS.index(layer_of(target)) > LAYERS.index(layer_of(module))
    ]
    try:
        graphlib.TopologicalSorter(found).prepare()
    except graphlib.CycleError as circle:
        sentences.append(f"imports are circular: {' → '.join(circle.args[1])}")
    return sentences


def test_imports_point_one_way():
    assert faults(ROOT) == []


def test_every_subpackage_has_a_layer():
    subpackages = {".".join(module.split(".")[:2]) for module in modules(ROOT) if module.startswith("rnnbench.")}
    assert subpackages | {"rnnbench", "benchmarks"} == set(LAYERS)


def test_benchmarks_import_only_public_names():
    import rnnbench

    for module, targets in imports(ROOT).items():
        if module.startswith("benchmarks"):
            assert {target for target in targets if not target.startswith("benchmarks")} <= {PUBLIC}
            for node in ast.walk(ast.parse(modules(ROOT)[module].read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == PUBLIC:
                    assert {alias.name for alias in node.names} <= set(rnnbench.__all__)


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("network/shapes.py", "from rnnbench import variants", "network.shapes imports rnnbench.variants"),
        ("measure/clock.py", "def f():\n    import rnnbench.history.figures", "measure.clock imports rnnbench.history"),
        ("variants/scan.py", "importlib.import_module('rnnbench.cli')", "variants.scan imports rnnbench.cli"),
        ("network/workload.py", "from rnnbench.network import reference", "imports are circular"),
    ],
)
def test_imports_from_higher_layers_and_circular_ones_are_found(file, line, words, tmp_path):
    for path in modules(ROOT).values():
        copy = tmp_path / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(path.read_text() + (f"\n{line}\n" if path == ROOT / "rnnbench" / file else ""))
    assert any(words in fault for fault in faults(tmp_path))


if __name__ == "__main__":
    for (upper, lower), count in sorted(
        counts_between_layers(ROOT).items(), key=lambda item: [-LAYERS.index(layer) for layer in item[0]]
    ):
        print(f"{upper} → {lower}  {count}")
    sys.exit("\n".join(faults(ROOT)) or 0)
