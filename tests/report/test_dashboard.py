"""optuna-dashboard on a real study: every trial that has ended has a note and a picture, and Chromium shows both."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest

import nasmod
from nasmod.api import SearchStudy
from nasmod.errors import StudyError
from nasmod.report.dashboard import Annotator
from nasmod.study.record import ENDED

dashboard = pytest.importorskip("optuna_dashboard")


@pytest.fixture
def study(small_study: Path, tmp_path: Path) -> SearchStudy:
    shutil.copy(small_study / "runs" / "small.db", tmp_path / "small.db")
    return nasmod.load("small", storage=tmp_path / "small.db")


@pytest.fixture
def annotator(study: SearchStudy, tmp_path: Path) -> Annotator:
    return Annotator(study.study, study.stored.database.url, tmp_path / "pictures")


def note_of(annotator: Annotator, number: int) -> str:
    trial = annotator.theirs.get_trials(deepcopy=False)[number]
    return str(dashboard.get_note(optuna.Trial(annotator.theirs, trial._trial_id)))


def test_each_trial_that_has_ended_has_a_note_and_a_picture(annotator: Annotator, study: SearchStudy) -> None:
    records = [record for record in study.records() if record.number is not None and record.state in ENDED]
    assert annotator.annotate(study.records()) == len(records) > 4
    for record in records:
        said = note_of(annotator, record.number or 0)
        assert said.startswith(f"## {record.label}: ")
        assert record.reason is None or record.reason in said
    best = note_of(annotator, study.best.number or 0)
    assert f"the mean of {study.best.repeats} fresh training" in best or not study.best.repeats
    assert "- flops: " in best
    attributes = annotator.storage.get_study_system_attrs(annotator.theirs._study_id)
    pictures = [json.loads(value) for name, value in attributes.items() if name.startswith("dashboard:artifacts:")]
    assert len(pictures) == len(records)
    for picture in pictures:
        assert (annotator.pictures / picture["artifact_id"]).read_text().startswith("<svg ")
        assert picture["mimetype"] == "image/svg+xml"
    assert str(dashboard.get_note(annotator.theirs)).startswith("# small\n")


def test_nothing_is_written_twice(annotator: Annotator, study: SearchStudy, tmp_path: Path) -> None:
    annotator.annotate(study.records())
    assert annotator.annotate(study.records()) == 0
    again = Annotator(study.study, study.stored.database.url, tmp_path / "pictures")
    again.annotate(study.records())  # another process does not know what the first wrote
    attributes = again.storage.get_study_system_attrs(again.theirs._study_id)
    pictures = [name for name in attributes if name.startswith("dashboard:artifacts:")]
    assert len(pictures) == len(list((tmp_path / "pictures").iterdir()))


def test_the_study_is_as_it_was(annotator: Annotator, study: SearchStudy) -> None:
    before = [trial for trial in annotator.theirs.get_trials() if trial.state.is_finished()]
    annotator.annotate(study.records())
    assert [trial for trial in annotator.theirs.get_trials() if trial.state.is_finished()] == before


def test_without_the_package_it_says_what_to_install(annotator: Annotator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    with pytest.raises(StudyError, match=r"pip install 'nasmod\[dashboard\]'"):
        annotator.annotate([])


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def served(study: SearchStudy, tmp_path: Path) -> Iterator[str]:
    """The address of the command's dashboard."""
    port = free_port()
    options = ["--storage", str(tmp_path / "small.db"), "--port", str(port), "--pictures", str(tmp_path / "pictures")]
    command = [sys.executable, "-m", "nasmod.cli", "dashboard", "small", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        address = f"http://localhost:{port}"
        for _ in range(600):
            try:
                urllib.request.urlopen(f"{address}/api/studies", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, process.stderr
                time.sleep(0.1)
        yield address
        process.terminate()


@pytest.mark.slow
def test_a_port_that_is_taken_is_told_in_one_line(study: SearchStudy, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        options = ["--host", "127.0.0.1", "--port", str(taken.getsockname()[1]), "--pictures", str(tmp_path / "p")]
        command = [sys.executable, "-m", "nasmod.cli", "dashboard", "small", "--storage", str(tmp_path / "small.db")]
        done = subprocess.run([*command, *options], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 2
    assert "The dashboard cannot listen on 127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="needs chromium")
def test_a_browser_shows_the_note_and_the_picture(served: str, study: SearchStudy) -> None:
    pytest.importorskip("selenium")
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get(f"{served}/dashboard/studies/1/trials?numbers={study.best.number}")
        wait = WebDriverWait(browser, 60)
        wait.until(lambda one: "it ran to its end" in one.find_element(By.TAG_NAME, "body").text)
        wait.until(lambda one: one.find_elements(By.CSS_SELECTOR, "img"))
        width = "return [...document.querySelectorAll('img')].some(one => one.naturalWidth > 0)"
        wait.until(lambda one: one.execute_script(width))
        assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []
    finally:
        browser.quit()
