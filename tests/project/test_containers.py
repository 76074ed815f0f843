"""Tests that the GPU's container, its script, README.md and the code agree. To build one takes root and a network."""

import re
import subprocess
import sys

from helpers import ROOT

from rnnbench.theano_runtime import cuda

SCRIPT = (ROOT / "containers" / "set-up-debian-12").read_text()
CONTAINERFILE = (ROOT / "containers" / "Containerfile").read_text()


def test_the_container_names_the_folder_that_the_script_fills():
    (major,) = re.findall(r"cuda=\$\{1:-(\d+)\}", SCRIPT)
    (folder,) = re.findall(r"folder=(\S+)", SCRIPT)
    assert f"{cuda.VARIABLE}={folder.replace('$cuda', major)} " in CONTAINERFILE
    assert int(major) in cuda.WHEELS


def test_the_script_installs_what_the_readme_and_pygpu_need():
    (packages,) = re.findall(r"apt-get install .*\\\n +(.*)", SCRIPT)
    (needed,) = re.findall(r"`apt-get install (git[^`]*)`", (ROOT / "README.md").read_text())
    assert {*needed.split(), "libgpuarray-dev", "python3-pygpu"} <= {*packages.split()}


def test_the_script_takes_the_wheels_from_the_code():
    (code,) = re.findall(r'wheels=\$\(python3 -B -c "(.*)"\)', SCRIPT)
    for major, wheels in cuda.WHEELS.items():
        command = [sys.executable, "-c", code.replace("$cuda", str(major))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout.split() == " ".join(wheels.values()).format(1).split()
