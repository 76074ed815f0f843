"""Prepare what `asv publish` draws: a private copy of the results, and the links of asv's pages."""

from __future__ import annotations

import html
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rnnbench.history import live_selftest, nodes, selftest
from rnnbench.history.benchmark_names import MODULES

# asv draws a new series when a fact changes. These facts don't identify a machine: an update or a later version of
# rnnbench changes them, but not the series.
_FACTS_LEFT_OUT = (
    "arch",
    "driver",
    "float16_flops",
    "float32_flops",
    "memory_bandwidth",
    "num_cpu",
    "os",
    "ram",
    "tf32_flops",
)

# The pages of a commit lie below this path at these public hosts. Other hosts may be private, so no page names them.
_PUBLIC_HOSTS = ("codeberg.org", "github.com", "gitlab.com")
_COMMIT_PATH = "/commit/"
# A remote's address: https://USER@HOST/PATH.git, ssh://git@HOST/PATH.git or git@HOST:PATH.git.
_REMOTE = re.compile(r"(?:\w+://)?(?:[^@/]+@)?(?P<host>[\w.-]+)[:/](?P<path>[\w.~/-]+?)(?:\.git)?/?")


def copy(paths: Iterable[Path], results: Path, private: Path) -> None:
    """Copy these results files, and each machine's selftests and nodes, from `results` to the new folder `private`.

    In the copy the results lack the facts that would cut asv's series in two. The benchmarks that have results come
    in the order of benchmark_names.MODULES, and the others are left out. Their code is escaped, because asv's pages
    insert it as HTML.
    """
    measured: set[str] = set()
    for path in paths:
        target = private / path.relative_to(results)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = json.loads(path.read_bytes())
        if path.name not in ("machine.json", "benchmarks.json"):
            content["params"] = {key: fact for key, fact in content["params"].items() if key not in _FACTS_LEFT_OUT}
            measured |= {name for name, row in content["results"].items() if _has_figures(row)}
        target.write_text(json.dumps(content))
    for file in (selftest.FILE, live_selftest.FILE, nodes.FILE):
        for path in results.glob(f"*/{file}"):
            target = private / path.relative_to(results)
            if target.parent.is_dir():
                target.write_bytes(path.read_bytes())
    if (benchmarks := private / "benchmarks.json").exists():
        benchmarks.write_text(json.dumps(_shown(json.loads(benchmarks.read_bytes()), measured)))


def links(repository: str, results_page: str) -> tuple[str, str]:
    """Return the addresses of the project and, with a commit's hash appended, of a commit.

    They lead to the repository that git's remote `origin` names, if a public host has it; otherwise to the
    dashboard's own page of results.
    """
    command = ["git", "-C", repository, "remote", "get-url", "origin"]
    remote = _REMOTE.fullmatch(subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip())
    if remote and remote["host"] in _PUBLIC_HOSTS:
        address = f"https://{remote['host']}/{remote['path']}"
        return address, f"{address}{_COMMIT_PATH}"
    return results_page, f"{results_page}?commit="


def known_commits(repository: str, first_commits: dict[str, str | None]) -> dict[str, str | None]:
    """Return asv's setting regressions_first_commits without the commits that the repository lacks.

    asv would stop at one, for example in a shallow clone.
    """

    def has(commit: str) -> bool:
        command = ["git", "-C", repository, "cat-file", "-e", f"{commit}^{{commit}}"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    return {names: commit for names, commit in first_commits.items() if commit is None or has(commit)}


def is_shallow(repository: str) -> bool:
    """Return whether a repository was cloned without its older commits."""
    command = ["git", "-C", repository, "rev-parse", "--is-shallow-repository"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() == "true"


def _has_figures(row: list[Any]) -> bool:
    return any(value is not None and value == value for value in row[0] or ())


def _shown(benchmarks: dict[str, Any], measured: set[str]) -> dict[str, Any]:
    order = {name: place for place, name in enumerate(MODULES)}
    names = sorted(measured & benchmarks.keys(), key=lambda name: (order.get(name.partition(".")[0], len(order)), name))
    shown = {name: {**benchmarks[name], "code": html.escape(benchmarks[name]["code"])} for name in names}
    return {**shown, "version": benchmarks["version"]}
