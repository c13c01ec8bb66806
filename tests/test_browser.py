"""The pages as a browser shows them: filters, hover, narrow and dark views, the keyboard alone.

Debian's chromium and chromium-driver are wanted; elsewhere the tests skip and say so. With
``CUTLAYER_REQUIRE_BROWSER=1`` they fail instead.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest
import report_runs
from audit_made import (
    RECOMMENDED,
    Kind,
    hostile,
    made,
    nothing,
    of_answers,
    partial,
    without_recommendation,
)

from cutlayer.auditing.page import render
from cutlayer.auditing.result import Audit
from cutlayer.report.page import render as render_report
from cutlayer.report.reading import settings

CHECKS = (Path(__file__).parent / "page_checks.js").read_text("utf-8")
WIDE, NARROW, PAPER = (1280, 800), (390, 844), (718, 1040)
NOISY = "inverse network, averaging 16 messages"


def without(reason: str) -> NoReturn:
    """No browser: skip, or fail where one is required."""
    if os.environ.get("CUTLAYER_REQUIRE_BROWSER") == "1":
        pytest.fail(f"CUTLAYER_REQUIRE_BROWSER=1: {reason}")
    pytest.skip(reason)


class Browser:
    """A page in Chromium.

    Args:
        folder: Where the pages lie.
    """

    def __init__(self, driver: Any, folder: Path) -> None:
        self.driver, self.folder = driver, folder

    def open(self, name: str) -> None:
        """Show a page anew, wide and light; forget what was said on the console before."""
        path = self.folder / f"{name}.html"
        if not path.exists():
            path.write_text(PAGES[name](), encoding="utf-8")
        self.look(WIDE, "light")
        self.driver.get_log("browser")
        self.driver.get(path.as_uri())

    def look(self, size: tuple[int, int], scheme: str) -> None:
        """Turn the window and the light."""
        width, height = size
        view = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", view)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(f"{CHECKS}\n{script}", *arguments)

    def text(self, selector: str) -> str:
        """Of the first element, as it is seen."""
        script = "return document.querySelector(arguments[0]).innerText"
        return " ".join(str(self.run(script, selector)).split())

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def wait(self, script: str) -> Any:
        """For what the script returns to be true, ten seconds at most; what it returns then."""
        end = time.monotonic() + 10
        while not (found := self.run(script)) and time.monotonic() < end:
            time.sleep(0.03)
        return found

    def said(self) -> list[str]:
        """What the console was told."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def _report() -> str:
    records, samples = report_runs.digit_runs()
    return render_report(settings(records), [], samples, title="report", partial=False)


def _of(audit: Audit, kind: Kind) -> Audit:
    return replace(audit, pictures=made(kind).pictures)


PAGES: dict[str, Callable[[], str]] = {
    "whole": lambda: render(made()),
    "no": lambda: render(_of(without_recommendation(), "signal")),
    "partial": lambda: render(_of(partial(), "table"), before=made()),
    "nothing": lambda: render(nothing()),
    "answers": lambda: render(of_answers()),
    "both": lambda: render(made(released=of_answers())),
    "hostile": lambda: render(hostile()),
    "report": _report,
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    try:
        from selenium import webdriver
        from selenium.common.exceptions import WebDriverException
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        without("selenium is not installed: pip install -e '.[test]'")
    program, helper = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or helper is None:
        without("no chromium with its driver: apt-get install chromium chromium-driver")
    folder = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    for flag in ("headless=new", "no-sandbox", "disable-gpu", "no-first-run"):
        options.add_argument(f"--{flag}")
    for flag in ("dev-shm-usage", "background-networking", "component-update"):
        options.add_argument(f"--disable-{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("no_proxy", "localhost,127.0.0.1")  # the driver is on this machine
        try:
            driver = webdriver.Chrome(options=options, service=Service(helper))
        except WebDriverException as e:
            without(f"chromium does not start: {e.msg}")
        try:
            yield Browser(driver, folder)
        finally:
            driver.quit()


def test_without_a_browser_tests_skip_or_fail_where_one_is_required(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CUTLAYER_REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no chromium"):
        without("no chromium")
    monkeypatch.setenv("CUTLAYER_REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="REQUIRE_BROWSER=1: no chromium"):
        without("no chromium")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_quiet_and_fits_and_can_be_read(browser: Browser, name: str) -> None:
    browser.open(name)
    if name in ("whole", "no"):
        _each_reader_has_one_screen(browser)
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    for size, scheme in ((WIDE, "dark"), (NARROW, "light")):
        browser.look(size, scheme)
        light = "return luminance(background(document.body))"
        assert browser.run(light) > 0.9 if scheme == "light" else browser.run(light) < 0.05
        assert browser.wait(f"{wide} <= 0")
        if name != "report":  # the figure is drawn anew a moment after the light has changed
            assert browser.wait("return !faint().length"), browser.run("return faint()")
    assert browser.said() == []


def test_answers_are_told_by_how_far_they_move(browser: Browser) -> None:
    browser.open("answers")
    browser.look(WIDE, "light")
    axis = "return document.querySelector('.xtitle')?.textContent"
    assert browser.wait(axis) == "mean L1 distance of the answers from the network's"
    assert "Given up L1" in browser.text("#front thead")
    assert "0.0200" in browser.text("#front")


def _each_reader_has_one_screen(browser: Browser) -> None:
    bottom = "return document.querySelector(arguments[0]).getBoundingClientRect().bottom"
    height = "return document.querySelector(arguments[0]).getBoundingClientRect().height"
    assert browser.run(bottom, "#safe") <= WIDE[1]
    for section in ("#change", "#numbers"):  # the filters stay above them
        assert browser.run(height, ".filters") + browser.run(height, section) <= WIDE[1]


def test_filters_change_the_worst_attacker_the_points_and_the_tables(browser: Browser) -> None:
    browser.open("whole")
    before = browser.run("return point(arguments[0])", RECOMMENDED)
    assert browser.text("#said") == (
        f"Worst attacker of the recommendation: {NOISY}, 4.9 % (guessing 0.4 %)."
    )
    assert browser.text("#count") == "44 of 44 rows"
    for threat in ("server-and-owner", "white-box", "black-box"):
        browser.click(f".threat[value={threat}]")
    said = browser.text("#said")
    assert said.startswith("Worst attacker of the recommendation: shadow network, ")
    after = browser.run("return point(arguments[0])", RECOMMENDED)
    assert after[2] == before[2]
    assert after[3] < before[3] - 0.01
    assert f"{after[3]:.1%}".replace("%", " %") in said
    assert "shadow network" in browser.text("#front")
    assert NOISY not in browser.text("#front")
    assert "shadow network" in browser.run(
        "return document.querySelector('[data-cut=fc1] .best').title"
    )
    assert browser.text("#count") == "10 of 44 rows"  # two took a quick look without it
    browser.click(".threat[value=query-free]")
    assert browser.text("#said").startswith("Nobody is feared")
    assert browser.text("#front tbody") == ""
    browser.click(".threat[value=white-box]")
    browser.run("document.getElementById('protect').value = 'class'")
    browser.run("document.getElementById('protect').dispatchEvent(new Event('change'))")
    assert "(guessing 10.4 %)" in browser.text("#said")
    assert browser.said() == []


def test_what_is_hovered_tells_its_numbers(browser: Browser) -> None:
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.actions.action_builder import ActionBuilder

    browser.open("whole")
    browser.run("document.querySelector('#change').scrollIntoView({ behavior: 'instant' })")
    x, y, *_ = browser.run("return point('act2/gaussian-0.8')")
    pointer = ActionBuilder(browser.driver, duration=0)
    pointer.pointer_action.move_to_location(x - 2, y - 2).move_to_location(x, y)
    pointer.perform()
    box = "return (document.querySelector('.hoverlayer .hovertext') || {}).textContent"
    told = browser.wait(box) or "no box"
    for wanted in ("Gaussian 0.8·rms, cut after act2", "1.1 points", NOISY.split(",")[0], "53.4"):
        assert wanted in told
    ActionChains(browser.driver, duration=0).move_by_offset(-x + 1, -y + 1).perform()
    assert browser.wait("return !document.querySelector('.hoverlayer .hovertext')")
    button = f'.point[data-key="{RECOMMENDED}"]'
    browser.run("document.querySelector(arguments[0]).focus()", button)
    assert "Laplace 0.8·rms, cut after fc1" in browser.wait(box)
    assert browser.said() == []


def test_the_keyboard_alone_reaches_and_works_everything(browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open("whole")
    reached: list[dict[str, Any]] = []
    while not reached or reached[-1]["what"] != "summary":
        browser.press(Keys.TAB)
        reached.append(browser.run("return focused()"))
        assert len(reached) < 120
    assert [r for r in reached if not r["seen"]] == []
    names = [r["name"] for r in reached]
    wanted = ["To the verdict", "Is it safe?", "server-and-owner", "query-free"]
    wanted += ["Laplace 0.8·rms, cut after fc1", "Configuration", "Leakage", "Seed"]
    places = [names.index(name) for name in wanted]
    assert places == sorted(places)
    assert {"protect", "with", "worst", "thorough", "flagged"} <= {r["id"] for r in reached}
    assert sum(r["region"] for r in reached) == 5  # pictures, front, cuts, advice, numbers
    _every_control_has_a_name(browser)


def _every_control_has_a_name(browser: Browser) -> None:
    tree = browser.driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    controls = {"button", "checkbox", "combobox", "searchbox", "link", "image", "region", "status"}
    found = [
        (n["role"]["value"], n.get("name", {}).get("value", ""))
        for n in tree
        if not n["ignored"] and n["role"]["value"] in controls
    ]
    assert {role for role, _ in found} >= controls - {"image"}
    assert [role for role, name in found if not name and role != "status"] == []


def test_the_table_sorts_and_narrows_by_the_keyboard(browser: Browser) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open("whole")
    browser.run("document.querySelector('.threat[value=white-box]').focus()")
    browser.press(Keys.SPACE)
    assert not browser.run("return document.querySelector('.threat[value=white-box]').checked")
    heading = "#every thead th:nth-child(3)"
    browser.run("document.querySelector(arguments[0]).focus()", f"{heading} button")
    values = (
        "return [...document.querySelectorAll('#every tbody tr:not([hidden]) .leakage')]"
        ".map((c) => Number(c.dataset.v))"
    )
    for order, sign in (("descending", -1), ("ascending", 1)):
        browser.press(Keys.ENTER)
        assert browser.run(f"return document.querySelector('{heading}').ariaSort") == order
        found = browser.run(values)
        assert found == sorted(found, key=lambda v, s=sign: s * v)
    browser.run("document.getElementById('with').focus()")
    browser.press(*"fc1")
    assert browser.text("#count") == "20 of 44 rows"
    browser.run("document.getElementById('worst').focus()")
    browser.press(Keys.SPACE)
    assert browser.text("#count") == "5 of 44 rows"
    assert browser.said() == []


def test_it_prints_whole(browser: Browser) -> None:
    import base64

    browser.open("whole")
    printed = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")
    browser.look(PAPER, "light")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    cut_off = "(e) => getComputedStyle(e).overflowY !== 'visible'"
    script = f"return [...document.querySelectorAll('.scroll')].filter({cut_off}).length"
    assert browser.run(script) == 0
    wide = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.wait(f"{wide} <= 0")
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert browser.said() == []
