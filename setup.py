"""The package rnnbench, which needs NumPy and draws tables; each variant's extra installs its framework."""

from pathlib import Path

from setuptools import find_packages, setup

THEANO = [
    # Theano's setup.py fails on Python 3.12. There rnnbench/theano_runtime/install.py installs Theano, with wheel.
    "Theano==1.0.5; python_version < '3.12'",
    "six==1.17.0; python_version >= '3.12'",
    "wheel==0.45.1; python_version >= '3.12'",
    # NumPy 1.24 dropped names that Theano uses. 1.23.2 is the first release with a wheel for Python 3.11. For Python
    # 3.12 and later NumPy 2 has wheels, and rnnbench/theano_runtime/later_versions.py gives the names back.
    "numpy==1.23.5; python_version < '3.12'",
    "numpy==2.5.5; python_version >= '3.12'",
    # Theano imports SciPy. These are the newest releases that work with these versions of NumPy.
    "scipy==1.15.3; python_version < '3.12'",
    "scipy==1.18.1; python_version >= '3.12'",
    # Theano imports pkg_resources and distutils, which later releases of setuptools and Python dropped.
    "setuptools==69.5.1",
    # Theano uses pygpu on a GPU, and pygpu imports Mako. pygpu itself isn't on PyPI.
    "Mako==1.4.3",
    # OpenBLAS, which Theano's compiled code calls.
    "scipy-openblas32==0.3.34.481.3",
]

# A second Theano, by the developers of PyMC, for Python 3.10 and 3.11. It is imported as theano too.
THEANO_PYMC = ["Theano-PyMC==1.1.2; python_version < '3.12'", *THEANO[1:]]

# It reads asv's results files.
JITER = ["jiter==0.18.0; python_version < '3.11'", "jiter==0.19.0; python_version >= '3.11'"]

# They draw the tables in the terminal. `rnnbench time` and `rnnbench verify` work without any extra but a framework's.
RICH = "rich==15.0.0"
TABULATE = "tabulate==0.10.0"

# Any version works: the one that pip picks, or the one that a GPU machine already has. One environment holds them all.
PEERS = {
    "torch": ["torch"],
    "jax": ["jax"],
    "pytensor": ["pytensor"],
    "keras": ["keras", "tensorflow-cpu"],
    "onnxruntime": ["onnxruntime", "onnx"],
}

setup(
    name="rnnbench",
    version="0.1.0",
    description="Recurrent networks, timed and checked: a framework's loop against a fused network",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=find_packages(include=["rnnbench", "rnnbench.*"]),
    package_data={
        "rnnbench.fused": ["include/*.h", "include/*.cu"],
        "rnnbench.theano_runtime": ["include/*.h", "include/cuda/*.h"],
        "rnnbench.report": ["libraries.json", "titan_x.csv", "page/*"],
    },
    install_requires=["numpy", "rich", "tabulate"],
    extras_require={
        "theano": THEANO,
        "theano-pymc": THEANO_PYMC,
        **PEERS,
        # FlashRNN isn't among the peers, since it needs a GPU and CUDA's compiler.
        "flashrnn": ["flashrnn"],
        "peers": [requirement for peer in PEERS.values() for requirement in peer],
        # asv builds its environments with virtualenv. orjson writes the results page's data, Markdown its documents.
        "bench": [
            "asv==0.6.6",
            "fastjsonschema==2.22.3",
            *JITER,
            "Markdown==3.10.3; python_version < '3.11'",
            "Markdown==3.11.3; python_version >= '3.11'",
            "orjson==3.13.0",
            RICH,
            "virtualenv==21.15.8",
        ],
        # tabulate draws the Markdown tables (asv needs it too), matplotlib the plots.
        "report": [*JITER, "matplotlib==3.10.9", RICH, TABULATE],
        # It submits jobs to Slurm. tomli reads the settings file; later Pythons have it as tomllib.
        "cluster": ["submitit==1.5.4", "tomli==2.4.0; python_version < '3.11'"],
        "test": [
            "axe-playwright-python==0.1.8",
            "hypothesis==6.168.5; python_version < '3.11'",
            "hypothesis==6.170.15; python_version >= '3.11'",
            "mypy==2.4.1",
            "playwright==1.65.2",
            "pytest==9.2.0",
            "pytest-xdist==3.8.0",
            "ruff==0.17.6",
        ],
    },
    entry_points={"console_scripts": ["rnnbench=rnnbench.cli:main"]},
)
