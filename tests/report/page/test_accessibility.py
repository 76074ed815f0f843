"""Tests of the tab with a keyboard, a screen reader, a phone and a printer."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.dashboard import MACHINES, page_opener

from rnnbench.report import page as dashboard


def test_the_keyboard_is_enough(open_page):
    tab = open_page("")
    tab.get_by_role("link", name=dashboard.TITLE).focus()
    tab.keyboard.press("Enter")
    tab.wait_for_selector("#rn-results:not([hidden])")
    before = tab.locator("#rn-machine").input_value()
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "rn-machine":
            break
    tab.keyboard.press("ArrowDown")
    tab.wait_for_function("before => document.querySelector('#rn-machine').value !== before", arg=before)
    chosen = tab.locator("#rn-machine").input_value()
    tab.wait_for_selector(f"text=Shown: {chosen} at")
    assert tab.evaluate("document.activeElement.id") == "rn-machine"


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("machine", MACHINES)
def test_accessibility(open_page, machine, width, history):
    commit = history.older if machine == "h100" else history.newest
    tab = open_page(dashboard.NAME, machine=machine, commit=commit)
    tab.set_viewport_size({"width": width, "height": 844})
    results = Axe().run(tab)
    assert not results.response["violations"], results.generate_report()


def test_a_phone_needs_no_sideways_scrolling(chromium, address, history):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
    tab = page_opener(context.new_page(), address)(dashboard.NAME, machine="h100", commit=history.older)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_print_leaves_out_navigation_and_selectors(open_page):
    tab = open_page(dashboard.NAME, machine="h100")
    tab.emulate_media(media="print")
    assert not tab.locator("#nav").is_visible()
    assert not tab.locator("#rn-machine").is_visible()
    assert tab.locator("#rn-times table").is_visible()
