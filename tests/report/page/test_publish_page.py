"""Tests of rnnbench publish, and of rnnbench preview."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

from helpers.dashboard import MACHINES, History

from rnnbench.report import page as dashboard


def test_without_npm_publish_warns_and_keeps_asvs_links(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git"))
    other = History(tmp_path)
    html, said = other.publish(PATH=str(programs), XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert "from public servers, since npm, which fetches them, isn't installed" in said
    assert "https://code.jquery.com/" in (html / dashboard.ASV_PAGE).read_text()
    assert "https://" not in (html / "index.html").read_text()
    assert (html / dashboard.DATA / "index.js").is_file()


def test_a_broken_results_file_is_named_and_left_out(tmp_path):
    other = History(tmp_path)
    broken = other.results / "h100" / f"{other.newest[:8]}-broken.json"
    broken.write_text(MACHINES["h100"].read_text()[:1000])
    html, said = other.publish()
    assert re.search(rf"leaving out .*{broken.name}", said)
    assert len(list((html / dashboard.DATA).glob("*.js"))) == 4


def test_the_preview_listens_on_the_loopback_alone(html):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [Path(sys.executable).with_name("rnnbench"), "preview", "--html", html, "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert f"http://127.0.0.1:{port}" in server.stdout.readline()
        listening = [
            line.split()[1] for table in ("tcp", "tcp6") for line in Path("/proc/net", table).read_text().splitlines()
        ]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/index.json") as response:
            assert json.load(response)["project"] == "rnnbench"
        server.send_signal(signal.SIGINT)
    assert server.returncode == 128 + signal.SIGINT
