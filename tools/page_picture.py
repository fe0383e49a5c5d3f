"""Takes docs/page.png, the picture of the page in the README: `python -m tools.page_picture`. Needs Chromium."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from selenium import webdriver

from tests.e2e.test_page import Browser
from tests.server_process import ROOT, serving

PICTURE = ROOT / "docs" / "page.png"
TEXT = (
    "A beautifully shot film with two wonderful leads. The story is slow, though, and the middle is dull:"
    " half an hour less would be better."
)


def main() -> None:
    """Classifies a text on the page and saves what it shows."""
    with TemporaryDirectory() as downloads, serving(ROOT / "models", "--workers", "1") as server:
        browser = Browser(Path(downloads))
        try:
            _take(browser.driver, browser, server.http)
        finally:
            browser.driver.quit()


def _take(driver: webdriver.Chrome, browser: Browser, address: str) -> None:
    driver.set_window_size(1000, 900)
    driver.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
    driver.get(f"http://{address}/")
    browser.until(lambda: bool(browser.all("#model option")))
    browser.paste(TEXT)
    browser.until_says("#summary", "%")
    browser.until(lambda: browser.one("#explained").is_displayed())
    driver.save_screenshot(str(PICTURE))


if __name__ == "__main__":
    assert shutil.which("chromium")
    main()
