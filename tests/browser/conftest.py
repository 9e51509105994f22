"""A real browser, and reports of real runs for it to open."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("selenium", reason="selenium is not installed (pip install -e '.[dev]')")

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, _NAMES)), None)
DRIVER = shutil.which("chromedriver")
SHOTS = os.environ.get("RUNNER_TEST_SCREENSHOTS")
"""A directory to keep screenshots in, for people to look at."""


class Tab:
    """The browser, as a person uses it."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, file: Path, address: str = "") -> Tab:
        """Open a report at an address and wait until it is drawn."""
        self.driver.get("about:blank")
        self.driver.get(f"{file.resolve().as_uri()}{address}")
        self.until(lambda: self.script("return document.documentElement.dataset.ready"))
        return self

    def until(self, true: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, f"waited in vain: {self.logged()}"
            time.sleep(0.02)

    def script(self, code: str, *arguments: object) -> object:
        return self.driver.execute_script(code, *arguments)

    def press(self, *keys: str) -> None:
        for key in keys:
            self.driver.switch_to.active_element.send_keys(key)

    def all(self, css: str) -> list[WebElement]:
        """Those that are to be seen."""
        code = (
            "return [...document.querySelectorAll(arguments[0])].filter((n) => n.checkVisibility())"
        )
        return self.driver.execute_script(code, css)

    def one(self, css: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css: str) -> str:
        return self.one(css).text

    @property
    def address(self) -> str:
        return self.driver.current_url.partition("#")[2]

    def logged(self) -> list[str]:
        """What the browser complained of since the last look."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def shot(self, name: str) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.driver.save_screenshot(f"{SHOTS}/{name}.png")


@pytest.fixture(scope="session")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("chromium or chromedriver is not installed (apt install chromium-driver)")
    options = ChromeOptions()
    options.binary_location = CHROMIUM
    profile = tmp_path_factory.mktemp("profile")
    for argument in (
        "--headless=new",
        "--no-sandbox",  # tests may run as root
        "--disable-dev-shm-usage",
        "--disable-gpu",
        "--window-size=1360,1000",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(DRIVER))
    yield Tab(driver)
    driver.quit()


@pytest.fixture(autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves an error or a refused request in the browser's console."""
    if "tab" not in request.fixturenames:
        yield
        return
    tab: Tab = request.getfixturevalue("tab")
    tab.logged()
    yield
    assert tab.logged() == []


def run(place: Path, *words: str) -> Path:
    """Play a run as its user would; the report that it leaves behind."""
    environment = {**os.environ, "RAY_ADDRESS": "local"}
    command = [sys.executable, "-m", "runner", *words, f"run_dir={place}", "output.display=plain"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Report   {place}/report.html" in done.stdout
    return place / "report.html"


@pytest.fixture(scope="session")
def werewolf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("werewolf")
    return run(place / "run", "games=werewolf", "engine=simulated", "n=20")


@pytest.fixture(scope="session")
def fork(werewolf: Path) -> Path:
    parent = werewolf.parent
    words = (f"fork.run_dir={parent}", "fork.episode=3", "fork.turn=12", "n=2")
    return run(parent.with_name("fork"), *words, "seats.werewolf=random")


@pytest.fixture(scope="session")
def kuhn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("kuhn")
    return run(place / "run", "games=kuhn_poker", "seats.default=random", "n=30")


__all__ = ["Keys", "Tab"]
