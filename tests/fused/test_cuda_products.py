"""The CUDA layer's products: where they are cut, who computes them, and that no row is lost. cuBLAS isn't needed."""

import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "rnnbench" / "fused" / "include"


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """Return what the program prints: for x·W and for the inputs' gradients, the rows of the first product."""
    program = tmp_path_factory.mktemp("products") / "program"
    source = HERE / "products_program.cpp"
    subprocess.run(["g++", "-std=c++14", "-O2", "-Werror", f"-I{INCLUDE}", source, "-o", program, "-ldl"], check=True)
    run = subprocess.run([program], capture_output=True, text=True)
    assert run.returncode == 0, run.stdout
    return run.stdout.splitlines()


# At 25,600 rows and hidden 512 the tiles make 12.1 and 3.03 waves, at 3,840 rows 1.8 and 0.5.
@pytest.mark.parametrize(
    ("rows", "hidden", "first"),
    [
        (25600, 512, "25344 and 25344"),
        (12800, 512, "12672 and 8448"),
        (3200, 1024, "3072 and 0"),
        (3840, 512, "0 and 0"),
        (25600, 128, "0 and 0"),
    ],
)
def test_the_first_product_has_the_rows_of_whole_waves(said, rows, hidden, first):
    assert f"{rows} rows, hidden {hidden}: {first}" in said


# At hidden 1024, 33 × 128 rows fill four waves: 99 steps of 128 rows fill twelve, and 126 steps of 100 rows too. Only
# products in strict float32 are cut so.
@pytest.mark.parametrize(
    ("batch", "hidden", "steps"), [(128, 1024, 99), (100, 1024, 126), (256, 1024, 99), (32, 1024, 128), (128, 128, 128)]
)
def test_a_part_of_the_steps_fills_whole_waves(said, batch, hidden, steps):
    assert f"at most 128 steps of {batch} rows, hidden {hidden}: {steps} and 128" in said


# By assumed_clusters, 41 clusters of three blocks fit on an H100, and 31 of four. 960 × 512 numbers are 32 tiles.
@pytest.mark.parametrize(
    ("product", "who"),
    [
        ("x.W 3840 x 4096 x 1024", "1 blocks for a tile"),
        ("x.W 960 x 512 x 2048", "3 blocks for a tile"),
        ("dW 512 x 2048 x 3840", "2 blocks for a tile"),
        ("dW 128 x 512 x 25600", "cuBLAS"),  # four tiles leave most of the GPU idle
        ("x.W 3840 x 4084 x 1021", "cuBLAS"),  # rows of 1021 numbers can't be read by fours
        ("dW 1021 x 4084 x 3840", "cuBLAS"),
        ("x.W 960 x 512 x 128", "cuBLAS"),  # a small product
        ("unaligned 3840 x 4096 x 1024", "cuBLAS"),
        ("strict 3840 x 4096 x 1024", "cuBLAS"),
        ("Ampere 3840 x 4096 x 1024", "cuBLAS"),
    ],
)
def test_products_on_tensor_cores_are_divided_so_that_the_gpu_is_full(said, product, who):
    assert f"{product}: {who}" in said


def test_two_products_give_the_numbers_of_one(said):
    assert said[-1] == "equal"
