"""Install Theano 1.0.5 into the environment of the Python that runs this file, unless it is there.

`pip install 'rnnbench[theano]'` installs Theano up to Python 3.11. On a later Python Theano's setup.py fails, and this
file installs it: run it as a script, or as `python -m rnnbench.theano_runtime.install` after that pip command.
It imports only the standard library, so that it can run before anything is installed.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

REQUIREMENT = "Theano==1.0.5"

# Theano's setup.py reads its settings by two names of configparser that Python 3.12 dropped. Python runs a file of this
# name at its start.
_FILE = "sitecustomize.py"
_NAMES = """
import configparser
configparser.SafeConfigParser = configparser.ConfigParser
configparser.ConfigParser.readfp = configparser.ConfigParser.read_file
"""


def main() -> int:
    """Install Theano if it is missing; return pip's exit status."""
    if importlib.util.find_spec("theano"):
        return 0
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, _FILE).write_text(_NAMES)
        # In an isolated build pip would hide this folder. The extra theano installs what the build needs.
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-build-isolation"]
        command += ["--use-pep517", "--no-deps", "--disable-pip-version-check", REQUIREMENT]
        return subprocess.run(command, env={**os.environ, "PYTHONPATH": folder}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
