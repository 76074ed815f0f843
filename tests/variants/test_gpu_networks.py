"""Test networks of every kind on a GPU: each variant agrees with the reference on the networks that it supports."""

import numpy as np
import pytest

from rnnbench import Workload, build, reference, variants
from rnnbench.network.workload import KINDS

pytestmark = [
    pytest.mark.gpu,
    # Python and NumPy now warn about code in pygpu and Theano.
    pytest.mark.filterwarnings("default"),
]

NAMES = [name for name, variant in variants.VARIANTS.items() if "cuda" in variant.devices]
NETWORKS = {
    "other-inputs": Workload(7, 5, 17, 2, input_size=3),
    "one-step": Workload(1, 1, 17, 1, input_size=3),
    "both-directions": Workload(4, 5, 17, 2, input_size=3, bidirectional=True),
    "unequal": Workload(5, 7, 16, 2, least_length=1),
    "both-unequal": Workload(5, 7, 17, 3, input_size=9, bidirectional=True, least_length=1),
}


@pytest.fixture(scope="module")
def network(need):
    """Return a function that returns a variant's network on the GPU and its workload, and skips what can't run."""

    def get(name, kind, features):
        need(name, "cuda")
        work = replaced(NETWORKS[features], kind)
        if reason := variants.supports(name, work):
            pytest.skip(reason)
        return build(name, work, "cuda"), variants.workload(name, work)

    return get


def replaced(work, kind):
    fields = {name: getattr(work, name) for name in ("input_size", "bidirectional", "least_length")}
    return Workload(work.batch, work.seq, work.hidden, work.depth, kind=kind, **fields)


@pytest.mark.parametrize("features", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_outputs_and_gradients_agree_with_the_reference(network, name, kind, features):
    net, work = network(name, kind, features)
    tolerance = variants.VARIANTS[name].tolerance
    for _ in range(3):  # cuDNN's repeated calls are launched as graphs
        outputs, gradients = net.outputs(), net.gradients()
        assert reference.error(outputs, reference.outputs(work)) <= tolerance
        assert not outputs[np.broadcast_to(work.mask == 0, outputs.shape)].any()
        for layer, correct in zip(gradients, reference.gradients(work), strict=True):
            assert {key: array.shape for key, array in layer.items()} == {key: a.shape for key, a in correct.items()}
        error = reference.largest_gradient_error(gradients, reference.gradients(work))
        assert error <= reference.gradient_tolerance(work, tolerance)


@pytest.mark.parametrize("features", ["unequal", "both-unequal"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [name for name in NAMES if variants.is_ours(name)])
def test_nothing_is_copied_to_the_host(network, name, kind, features):
    net, _ = network(name, kind, features)
    for function in (net.forward, net.train):
        nodes = list(function.maker.fgraph.toposort())
        inner = [
            node for loop in nodes if type(loop.op).__name__ == "Scan" for node in loop.op.fn.maker.fgraph.toposort()
        ]
        assert not {"HostFromGpu", "GpuFromHost"} & {type(node.op).__name__ for node in [*nodes, *inner]}
