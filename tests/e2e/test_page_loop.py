"""The page shows a shadow version, and marks answers that are abstained from."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from selenium.webdriver.support.ui import Select

from tests.e2e.test_page import CHROMIUM, DRIVER, Browser
from tests.server_process import ServerProcess, serving
from tests.tiny_model import write_model
from text_classifier import Client
from textmodel import VersionFolder, load_engine
from textmodel.metadata import Abstention

TEXTS = ["the moving film", "dull dull film", "oil"]

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


@pytest.fixture(scope="module")
def server(tiny_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """`sentiment` with thresholds, and version 2 as its shadow."""
    models = tmp_path_factory.mktemp("loop") / "models"
    shutil.copytree(tiny_models, models)
    folder = VersionFolder(models / "sentiment" / "1")
    median = float(np.median(load_engine(folder.path).classify(TEXTS).probabilities.max(axis=1)))
    abstention = Abstention(0.95, (median, median))
    msgspec.structs.replace(folder.metadata, abstention=abstention).write(folder.metadata_file)
    write_model(models, "sentiment", seed=3)
    (models / "sentiment" / "shadow").write_text("2")
    with serving(models, "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.driver.quit()


def test_answers_below_the_thresholds_or_a_probability_are_marked(browser: Browser, server: ServerProcess) -> None:
    browser.open(server)
    browser.choose("sentiment")
    browser.one("[value=lines]").click()
    browser.paste("\n".join(TEXTS))
    browser.until_says("#summary", "3 texts classified")
    browser.one("#thresholds").click()
    assert "for a precision of 95.0%" in browser.one("#thresholds-row").text
    with Client(server.address, timeout=60) as client:
        answers = client.classify(TEXTS, model="sentiment", use_thresholds=True)
        wanted = [answer.label + (", abstained" if answer.abstained else "") for answer in answers]
    assert {answer.abstained for answer in answers} == {True, False}
    browser.until(lambda: browser.texts("#rows td:nth-child(2)") == wanted)
    browser.one("#min-probability").send_keys("1\t")
    browser.until(lambda: all(text.endswith(", abstained") for text in browser.texts("#rows td:nth-child(2)")))
    assert "use_thresholds=True" in browser.one("#python").text


def test_the_shadow_tells_how_often_it_agrees(browser: Browser, server: ServerProcess) -> None:
    with Client(server.address, timeout=60) as client:
        client.classify(TEXTS, model="sentiment")
        while not (shadow := client.model("sentiment", version=2).shadow) or shadow.texts < len(TEXTS):
            pass
    browser.open(server)
    browser.until(lambda: bool(browser.all("#model option")))
    Select(browser.one("#model")).select_by_visible_text("sentiment, version 2 (not in service)")
    browser.until_says("#about", "shadow: agrees on ")
