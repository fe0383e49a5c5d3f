"""The links of the documentation."""

from pathlib import Path

import pytest

from tests.docs import markdown
from tests.server_process import ROOT


@pytest.mark.parametrize("file", markdown.files(), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_leads_to_a_file_and_a_heading_of_the_repository(file: Path) -> None:
    assert markdown.broken(file) == []


def test_a_link_to_what_is_not_there_is_found(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    (tmp_path / "other.md").write_text("# A `heading`, it is\n\n## Twice\n\n## Twice\n")
    good = ["other.md", "other.md#a-heading-it-is", "other.md#twice-1", "#page", "https://example.com/x"]
    bad = ["others.md", "other.md#heading", "other.md#twice-2", "#pages", "picture.png"]
    links = [f"| [link]({target}) | ![image]({target}) |" for target in good + bad]
    file.write_text("# Page\n\n| a | b |\n| --- | --- |\n" + "\n".join(links))
    assert markdown.broken(file) == [target for target in bad for _ in range(2)]
