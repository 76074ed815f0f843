"""Fixtures for tests of the site, which is published once and opened in a real browser without a network."""

import functools
import http.server
import shutil
import threading

import pytest
from helpers import recorded
from helpers.dashboard import History, page_opener, publish
from playwright.sync_api import sync_playwright

from rnnbench.report import page as dashboard

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def history(tmp_path_factory):
    """Return the results of the published site. Tests must not change them."""
    return History(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="session")
def html(history):
    """Return the folder of the published site. Tests must not change it, but may copy it."""
    folder, said = history.publish()
    if "from public servers" in said:
        pytest.skip(said)
    return folder


@pytest.fixture(scope="session")
def recorded_site(tmp_path_factory):
    """Return the folder of a site with all recorded results."""
    return publish(tmp_path_factory.mktemp("recorded"), recorded.HISTORY)[0]


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def serve():
    """Return a function that serves a folder to this machine until the tests end, and returns the address."""
    servers = []

    def start(folder):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=folder))
        threading.Thread(target=server.serve_forever, args=[0.05], daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no Chromium here (on Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        # Only the loopback address resolves.
        cut_off = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[cut_off])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """Return a browser tab. The test fails if the tab logs an error or warning, or asks another host for a file."""
    context = chromium.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(8000)
    errors = []
    tab = context.new_page()
    tab.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
    tab.on("pageerror", lambda error: errors.append(str(error)))
    # A page that leads to another one stops what it is loading.
    stopped = "net::ERR_ABORTED"
    tab.on("requestfailed", lambda it: it.failure == stopped or errors.append(f"{it.url}: {it.failure}"))
    tab.on("request", lambda request: request.url.startswith("http://127.0.0.1:") or errors.append(request.url))
    yield tab
    context.close()
    assert errors == []


@pytest.fixture(scope="session")
def address(html, serve):
    """Return the address of the published site."""
    return serve(html)


@pytest.fixture
def open_page(tab, address):
    """Return a function that opens the results page with some choices."""
    return page_opener(tab, address)


@pytest.fixture
def open_recorded(tab, recorded_site, serve):
    """Return a function that opens the results page of all recorded results with some choices."""
    return page_opener(tab, serve(recorded_site))


@pytest.fixture
def open_asv(tab, address):
    """Return a function that opens one of asv's own pages."""

    def show(place):
        tab.goto(f"{address}{dashboard.ASV_PAGE}#/{place}")
        return tab

    return show
