"""FlashRNN's own errors, without a GPU."""

import pytest

from rnnbench import Unavailable
from rnnbench.variants import flashrnn


@pytest.mark.parametrize(
    "error", [ValueError("No working solution of constraints for CUDA module"), RuntimeError("Failed using Kernel")]
)
def test_a_size_without_a_kernel_is_unavailable(error):
    with pytest.raises(Unavailable, match="has no kernel for this batch and hidden size"), flashrnn.sizes_checked():
        raise error


def test_other_errors_are_not_hidden():
    with pytest.raises(ValueError, match="another"), flashrnn.sizes_checked():
        raise ValueError("another")


def test_a_toolkit_without_a_compiler_is_none(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "set CUDA_HOME" in flashrnn.unavailable("cuda")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "nvcc").touch()
    assert flashrnn.unavailable("cuda") is None
