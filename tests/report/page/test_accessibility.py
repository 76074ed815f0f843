"""Tests of the results page with a keyboard, a screen reader, a phone, in the dark and on paper."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from helpers.dashboard import page_opener

OPEN_ALL = "document.querySelectorAll('main details').forEach(details => { details.open = true; })"


def test_the_keyboard_is_enough(open_page):
    tab = open_page()
    before = tab.locator("#machine").input_value()
    for _ in range(20):
        tab.keyboard.press("Tab")
        if tab.evaluate("document.activeElement.id") == "machine":
            break
    tab.keyboard.press("ArrowUp")
    tab.wait_for_function("before => document.querySelector('#machine').value !== before", arg=before)
    assert tab.evaluate("document.activeElement.id") == "machine"


def test_the_arrow_keys_show_each_dots_note(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    tab.locator("#dots circle.dot").first.focus()
    first = tab.locator("#tip").inner_text()
    assert "µs per example" in first
    assert "samples" in first
    tab.keyboard.press("ArrowRight")
    second = tab.locator("#tip").inner_text()
    tab.keyboard.press("ArrowDown")
    third = tab.locator("#tip").inner_text()
    assert len({first, second, third}) == 3
    assert first.split(",")[0] == second.split(",")[0] != third.split(",")[0]
    tab.keyboard.press("Escape")
    assert tab.locator("#tip").is_hidden()


def test_a_tap_shows_the_note(chromium, address, history):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True, has_touch=True)
    tab = page_opener(context.new_page(), address)(machine="h100", commit=history.older)
    box = tab.locator("#dots circle.dot").last.bounding_box()
    tab.touchscreen.tap(box["x"] + 9, box["y"] + 9)
    assert "µs per example" in tab.locator("#tip").inner_text()
    tab.locator("#times-of-train td").first.tap()
    assert "train, " in tab.locator("#tip").inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessibility(chromium, recorded_site, serve, scheme):
    context = chromium.new_context(color_scheme=scheme)
    show = page_opener(context.new_page(), serve(recorded_site))
    tab = show()
    for width in (390, 768, 1280):
        tab.set_viewport_size({"width": width, "height": 844})
        results = Axe().run(tab)
        assert not results.response["violations"], results.generate_report()
    show(machine="h100", against="titan-x").evaluate(OPEN_ALL)
    results = Axe().run(tab)
    assert not results.response["violations"], results.generate_report()
    context.close()


def test_dark_is_dark(chromium, address):
    context = chromium.new_context(color_scheme="dark")
    tab = page_opener(context.new_page(), address)()
    red, green, blue = (
        int(part) for part in tab.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g)")
    )
    assert max(red, green, blue) < 64
    context.close()


def test_a_phone_needs_no_sideways_scrolling_and_a_cut_table_has_a_sign(chromium, address, history):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, is_mobile=True)
    tab = page_opener(context.new_page(), address)(machine="h100", commit=history.older)
    tab.evaluate(OPEN_ALL)
    tab.wait_for_timeout(100)
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    state = """regions => regions.map(region =>
        [region.scrollWidth > region.clientWidth + 4, !region.previousElementSibling.hidden])"""
    regions = tab.locator(".scroll").evaluate_all(state)
    assert any(is_cut for is_cut, _ in regions)
    assert all(is_cut == has_sign for is_cut, has_sign in regions)
    context.close()


def test_print_has_everything_but_the_controls_and_keeps_colours(open_page, history):
    tab = open_page(machine="h100", commit=history.older)
    colours = """[...document.querySelectorAll('#dots .dot, #dots .mean')].map(
        node => getComputedStyle(node).fill + getComputedStyle(node).stroke)"""
    before = tab.evaluate(colours)
    tab.emulate_media(media="print")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert not tab.locator("nav").is_visible()
    assert not tab.locator("#machine").is_visible()
    for name in ("#times-of-train", "#floor-dots svg", "#growth-lines svg >> nth=0", "#facts"):
        assert tab.locator(name).is_visible()
    assert tab.evaluate(colours) == before
    assert tab.evaluate("getComputedStyle(document.querySelector('td.fastest')).printColorAdjust") == "exact"
    assert len(tab.pdf()) > 20_000
