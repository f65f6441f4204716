"""The page of a study in a real browser: nothing goes wrong, a click shows a candidate, and it fits a phone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import nasmod
from nasmod.api import SearchStudy

pytest.importorskip("selenium")
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None or DRIVER is None, reason="needs chromium and chromium-driver"),
]
SWITCHES = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
Open = Callable[[int, str], webdriver.Chrome]


@pytest.fixture(scope="module")
def study(small_study: Path) -> SearchStudy:
    return nasmod.load("small", storage=small_study / "runs" / "small.db")


@pytest.fixture(scope="module")
def browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield started
    started.quit()


@pytest.fixture
def opened(browser: webdriver.Chrome, study: SearchStudy, tmp_path: Path) -> Iterator[Open]:
    """Opens the study's page so many pixels wide, on light or dark ground; at the end nothing may have gone wrong."""
    page = study.report(tmp_path / "page.html")

    def open_page(width: int, ground: str) -> webdriver.Chrome:
        size = {"width": width, "height": 1600, "deviceScaleFactor": 1, "mobile": width < 800}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        preferred = [{"name": "prefers-color-scheme", "value": ground}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": preferred})
        browser.get(page.as_uri())
        WebDriverWait(browser, 60).until(lambda one: one.find_elements(By.CSS_SELECTOR, "#front .scatterlayer .point"))
        return browser

    yield open_page
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def shown(browser: webdriver.Chrome) -> str:
    return browser.find_element(By.CSS_SELECTOR, "#candidate h2").text


def test_it_opens_with_the_best_and_a_click_in_plot_or_table_shows_another(opened: Open, study: SearchStudy):
    browser = opened(1400, "light")
    assert shown(browser).startswith(f"{study.best.label}: finished, score ")
    assert len(browser.find_elements(By.CSS_SELECTOR, "#candidate svg rect")) > 2
    rows = browser.find_elements(By.CSS_SELECTOR, "tr.row")
    assert len(rows) == sum(record.score is not None for record in study.records())
    other = next(row for row in rows if row.get_attribute("data-label") != study.best.label)
    other.click()
    assert shown(browser).startswith(f"{other.get_attribute('data-label')}: ")
    assert browser.current_url.endswith(f"#%23{other.get_attribute('data-label')[1:]}")
    before = shown(browser)
    for point in browser.find_elements(By.CSS_SELECTOR, "#front .scatterlayer .point"):
        ActionChains(browser).move_to_element(point).pause(0.3).click().perform()
        if shown(browser) != before:
            break
    assert shown(browser) != before


def test_the_table_is_sorted_by_the_column_that_is_clicked(opened: Open, study: SearchStudy):
    browser = opened(1400, "light")

    def labels() -> list[str]:
        return [row.get_attribute("data-label") for row in browser.find_elements(By.CSS_SELECTOR, "tr.row")]

    by_score = sorted((one for one in study.records() if one.score is not None), key=lambda one: -one.score)
    assert labels()[0] == by_score[0].label
    by_number = sorted(labels(), key=lambda label: int(label.removeprefix("#")))
    for expected in (by_number, by_number[::-1]):
        browser.find_element(By.XPATH, "//th/button[text()='trial']").click()
        assert labels() == expected


@pytest.mark.parametrize("ground", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1400])
def test_it_fits_the_screen_and_follows_the_ground(opened: Open, width: int, ground: str):
    browser = opened(width, ground)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    red = browser.execute_script("return getComputedStyle(document.body).backgroundColor").split("(")[1].split(",")[0]
    assert (int(red) < 128) == (ground == "dark")
