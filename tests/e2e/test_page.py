"""The page to try the models, in a real browser on the real server."""

import csv
import json
import shlex
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import Select, WebDriverWait

from tests.server_process import ROOT, ServerProcess, serving
from tests.tiny_model import write_model
from text_classifier import Client

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
AXE = Path(__file__).parent / "node_modules" / "axe-core" / "axe.min.js"
TOKEN = "a-token"
HARD_TO_QUOTE = 'it\'s a "moving" film, $HOME `id` \\n\n<b>café</b> 😀'

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")


class Browser:
    """A browser without a window, and what a user does with it."""

    def __init__(self, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
        assert CHROMIUM
        options.binary_location = CHROMIUM
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.downloads = downloads

    def open(self, server: ServerProcess) -> None:
        """Opens the page anew."""
        self.driver.get(f"http://{server.http}/")

    def choose(self, model: str) -> None:
        """Chooses a model by its name, once the models are there."""
        self.until(lambda: bool(self.all("#model option")))
        Select(self.one("#model")).select_by_visible_text(f"{model}, version 1")

    def paste(self, text: str) -> None:
        """Puts a text where the old one was, in one go, of any characters."""
        self.one("#text").clear()
        self.one("#text").click()
        self.driver.execute_cdp_cmd("Input.insertText", {"text": text})

    def one(self, selector: str) -> WebElement:
        """Finds an element."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Finds elements."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector: str) -> list[str]:
        """Returns what elements say."""
        return [each.text for each in self.all(selector)]

    def until(self, holds: Callable[[], bool]) -> None:
        """Waits. The page may replace an element between its lookup and the question."""
        wait = WebDriverWait(self.driver, 60, poll_frequency=0.02, ignored_exceptions=[StaleElementReferenceException])
        wait.until(lambda _: holds())

    def until_says(self, selector: str, text: str) -> None:
        """Waits until the element holds the text."""
        self.until(lambda: text in self.one(selector).text)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(session: Browser, server: ServerProcess) -> Browser:
    """On the page, with the model `topic` chosen."""
    session.open(server)
    session.choose("topic")
    return session


def test_the_metrics_port_opens_the_page(session: Browser, server: ServerProcess) -> None:
    session.driver.get(f"http://127.0.0.1:{server.event('metrics')['port']}/")
    session.choose("topic")
    assert session.driver.current_url == f"http://{server.http}/"


def test_typing_shows_what_the_server_says_of_the_text(browser: Browser, server: ServerProcess) -> None:
    text = "A moving film, oil!"
    browser.one("#text").send_keys(text)
    with Client(server.address, timeout=60) as client:
        (answer,) = client.classify([text], model="topic", top_k=5, explain=True)
    browser.until_says("#summary", f"{answer.label}, {answer.probability:.1%}")
    browser.until_says("#facts", "4 of 4 words known")
    assert browser.texts("#scores .label") == [score.label for score in answer.scores]
    assert browser.texts("#scores .number") == [f"{score.probability:.1%}" for score in answer.scores]
    assert "topic, version 1" in browser.one("#facts").text
    assert " ms" in browser.one("#facts").text


def test_words_are_coloured_by_what_they_add_and_unknown_ones_marked(browser: Browser, server: ServerProcess) -> None:
    text = "😀 moving zebra <i>dull"
    browser.paste(text)
    with Client(server.address, timeout=60) as client:
        (answer,) = client.classify([text], model="topic", explain=True)
    assert answer.explanation
    browser.until(lambda: browser.one("#explained").is_displayed())
    assert browser.one("#words").text == text
    for shown, word in zip(browser.all("#words .word"), answer.explanation.words, strict=True):
        classes = (shown.get_attribute("class") or "").split()
        assert shown.text == text[word.start : word.end]
        assert ("against" if word.contribution < 0 else "for") in classes
        assert ("unknown" in classes) is not word.known
    assert "zebra" in browser.one("#reasons").text


def test_a_late_answer_to_an_older_text_changes_nothing(browser: Browser) -> None:
    browser.driver.execute_script(
        """
        const real = window.fetch;
        window.fetch = async (path, {signal, ...options}) => {
            const response = await real(path, options);  // not ended by the signal: the answer comes, but late
            if (!options.body.includes("older") || options.body.includes("explain")) return response;
            const answer = await response.json();
            window.held = true;
            await new Promise((release) => { window.release = release; });
            setTimeout(() => { window.late = true; });
            return {ok: true, json: async () => answer};
        };
        """
    )
    browser.paste("an older text")
    browser.until(lambda: bool(browser.driver.execute_script("return window.held")))
    browser.paste("newer")
    browser.until_says("#facts", "0 of 1 word known")
    browser.driver.execute_script("window.release()")
    browser.until(lambda: bool(browser.driver.execute_script("return window.late")))
    assert "0 of 1 word known" in browser.one("#facts").text


def test_an_error_is_shown_as_one_with_the_servers_message_until_it_is_mended(browser: Browser) -> None:
    browser.paste("a moving film")
    browser.until(lambda: browser.one("#one").is_displayed())
    browser.paste("x" * 1001)
    browser.until_says("[role=alert]", "INVALID_ARGUMENT: texts[0]: has 1001 bytes; at most 1000 are allowed")
    assert not browser.one("#one").is_displayed()
    assert browser.one("#summary").text == ""
    browser.paste("a moving film")
    browser.until(lambda: browser.one("#one").is_displayed())
    assert browser.one("[role=alert]").text == ""


def test_lines_become_a_table_and_a_csv_file_without_formulas(browser: Browser, server: ServerProcess) -> None:
    texts = ["a moving film", '=HYPERLINK("http://evil.example")', "  @dull", "<b>oil</b>, 😀"] * 20
    browser.one("[value=lines]").click()
    browser.paste("\n".join(texts) + "\n\n")
    browser.until_says("#summary", "80 texts classified")
    with Client(server.address, timeout=60) as client:
        answers = client.classify(texts, model="topic")
    rows = browser.driver.execute_script(
        "return [...document.querySelectorAll('#rows tr')].map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    assert rows == [
        [text, answer.label, f"{answer.probability:.1%}", f"{answer.known_words}/{answer.words}"]
        for text, answer in zip(texts, answers, strict=True)
    ]
    browser.one("#download").click()
    file = browser.downloads / "classified.csv"
    browser.until(file.exists)
    with file.open(encoding="utf-8-sig", newline="") as lines:
        header, *table = csv.reader(lines)
    assert header == ["text", "label", "probability", "words", "known_words", "abstained"]
    assert [row[0] for row in table[:4]] == [texts[0], f"'{texts[1]}", f"'{texts[2]}", texts[3]]
    assert [row[1] for row in table] == [answer.label for answer in answers]
    assert [float(row[2]) for row in table] == [answer.probability for answer in answers]
    assert [(int(row[3]), int(row[4])) for row in table] == [(each.words, each.known_words) for each in answers]


def test_a_file_is_opened_or_dropped_and_has_to_be_text(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "reviews.txt"
    file.write_text("a moving café", encoding="utf-8-sig")
    browser.one("#file").send_keys(str(file))
    browser.until_says("#facts", "3 of 3 words known")
    browser.driver.execute_script(
        """
        const dataTransfer = new DataTransfer();
        dataTransfer.items.add(new File(["dropped oil"], "oil.txt"));
        document.body.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
        """
    )
    browser.until_says("#facts", "1 of 2 words known")
    file.write_bytes(b"\xff\xfe\x00")
    browser.one("#file").send_keys(str(file))
    browser.until_says("[role=alert]", "reviews.txt is not a text file in UTF-8")


@pytest.mark.parametrize(
    ("name", "run_by", "says"),
    [
        pytest.param("curl", ["sh", "-c"], '"label":"{}"', id="curl"),
        pytest.param(
            "grpcurl",
            ["sh", "-c"],
            '"label": "{}"',
            id="grpcurl",
            marks=pytest.mark.skipif(not shutil.which("grpcurl"), reason="needs grpcurl"),
        ),
        pytest.param("python", [sys.executable, "-c"], "{} ", id="python"),
    ],
)
def test_a_copied_command_is_the_same_call(
    browser: Browser, server: ServerProcess, name: str, run_by: list[str], says: str
) -> None:
    browser.paste(HARD_TO_QUOTE)
    browser.until(lambda: browser.one("#one").is_displayed())
    browser.driver.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.one(f"[data-copies={name}]").click()
    browser.until_says("#copied", f"The {name} command is copied.")
    copied = browser.driver.execute_async_script("navigator.clipboard.readText().then(arguments[0])")
    done = subprocess.run([*run_by, copied], capture_output=True, text=True, check=False, timeout=60, cwd=ROOT)
    with Client(server.address, timeout=60) as client:
        (answer,) = client.classify([HARD_TO_QUOTE], model="topic")
    assert says.format(answer.label) in done.stdout, done.stderr
    if name == "curl":
        arguments = shlex.split(copied)
        assert json.loads(arguments[arguments.index("-d") + 1])["texts"] == [HARD_TO_QUOTE]
        (classified,) = json.loads(done.stdout)["classifications"]
        assert classified["probability"] == answer.probability


def test_a_server_with_tokens_is_asked_with_the_one_that_the_user_enters(
    session: Browser, tiny_models: Path, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text(TOKEN)
    with serving(tiny_models, "--workers", "1", "--tokens", str(tokens)) as server:
        session.open(server)
        session.until_says("[role=alert]", "UNAUTHENTICATED")
        session.one("#token").send_keys(f"{TOKEN}\n")
        session.choose("topic")
        assert session.one("[role=alert]").text == ""
        session.paste("a moving film")
        session.until_says("#facts", "3 of 3 words known")
        for command in session.texts("pre"):
            assert TOKEN not in command
            assert "TOKEN" in command
        session.one("header a").click()
        session.until_says("body", '"openapi":"3.0.3"')
        session.driver.get("about:blank")  # its connection would be waited for


def test_new_models_and_versions_appear_without_a_reload(session: Browser, tmp_path: Path) -> None:
    def seen() -> list[str]:
        return [option.text for option in session.all("#model option")]

    write_model(tmp_path, "topic")
    with serving(tmp_path, "--workers", "1", "--watch-interval", "0.05") as server:
        session.open(server)
        session.choose("topic")
        session.paste("a moving film")
        session.until_says("#facts", "topic, version 1")
        write_model(tmp_path, "another")
        server.event("model in service", model="another")
        session.one("#model").click()
        session.until(lambda: seen() == ["another, version 1", "topic, version 1"])
        assert Select(session.one("#model")).first_selected_option.text == "topic, version 1"
        session.one("#text").click()

        write_model(tmp_path, "topic", seed=1)
        server.event("model unloaded", model="topic", version=1)
        page = session.driver.current_window_handle
        session.driver.switch_to.new_window("tab")
        session.driver.close()
        session.driver.switch_to.window(page)
        session.until(lambda: seen() == ["another, version 1", "topic, version 2"])
        assert Select(session.one("#model")).first_selected_option.text == "topic, version 2"
        session.until_says("#facts", "topic, version 2")
        session.driver.get("about:blank")


def test_a_server_that_does_not_describe_itself_has_no_examples_that_need_that(
    session: Browser, tiny_models: Path
) -> None:
    with serving(tiny_models, "--workers", "1", "--reflection", "off") as server:
        session.open(server)
        session.choose("topic")
        session.paste("a moving film")
        session.until(lambda: session.one("#curl").is_displayed())
        assert not session.one("#grpcurl").is_displayed()
        assert not session.one("header a").is_displayed()
        session.driver.get("about:blank")


def test_texts_stay_text_and_nothing_is_asked_of_another_host(browser: Browser, server: ServerProcess) -> None:
    browser.driver.get_log("performance")
    browser.driver.get_log("browser")
    browser.open(server)
    browser.choose("sentiment")
    markup = (
        '<img src="https://evil.example/x.png" onerror="alert(1)"><script src="https://evil.example/x.js"></script>'
    )
    browser.paste(markup)
    browser.until(lambda: browser.one("#explained").is_displayed())
    browser.one("[value=lines]").click()
    browser.until_says("#summary", "1 text classified")
    assert not browser.all("main img, main script")
    assert browser.texts("#rows td")[0] == markup
    events = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    urls = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert {urlsplit(url).netloc for url in urls} == {server.http}
    assert browser.driver.get_log("browser") == []  # violations of the policy would be here


def test_the_page_is_served_with_a_policy_that_allows_its_own_files_alone(server: ServerProcess) -> None:
    for path in ("/", "/web/page.js", "/web/style.css"):
        with urllib.request.urlopen(f"http://{server.http}{path}", timeout=60) as response:
            headers = response.headers
        policy = headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'"} <= set(policy)
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"]) == ("nosniff", "no-referrer")


@pytest.mark.skipif(not AXE.exists(), reason="needs axe-core: npm install --prefix tests/e2e")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 375])
def test_axe_finds_nothing_serious_in_any_state(browser: Browser, scheme: str, width: int) -> None:
    driver = browser.driver
    driver.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    )

    def check() -> None:
        driver.execute_script(AXE.read_text())
        found = driver.execute_async_script("axe.run().then(arguments[0])")
        assert found["passes"]
        serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
        assert not serious, json.dumps(serious, indent=2)
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")

    check()
    browser.paste("a moving, dull zebra")
    browser.until(lambda: browser.one("#explained").is_displayed())
    check()
    browser.one("[value=lines]").click()
    browser.until(lambda: browser.one("#many").is_displayed())
    check()
    browser.paste("x" * 1001)
    browser.until(lambda: browser.one("[role=alert]").text != "")
    check()
