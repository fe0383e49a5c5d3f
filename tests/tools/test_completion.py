"""The completion scripts, asked as bash asks them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

ASK = """
source "$1/bash-completion/completions/$2"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
registered=$(complete -p "$1")
[[ $registered =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" "$1" "${@: -1}" "${@: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does at a TAB: it sets the words of the line and calls the function that is registered for the command."""


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the scripts are written to."""
    folder = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, "-m", "tools.completion", folder], cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("text-classifier ", {"classify", "models"}),
        ("text-classifier classify --to", {"--token-file", "--top-k"}),
        ("text-classifier classify --file REA", {"README.md"}),
        ("text-classifier-server --max-text", {"--max-texts", "--max-text-bytes"}),
        ("text-classifier-server --log-format ", {"auto", "json", "console"}),
        ("text-classifier-server --models mod", {"models"}),
        ("text-classifier-train ", {"imdb", "reuters", "evaluate", "compare"}),
        ("text-classifier-train --test-s", {"--test-split"}),
        ("text-classifier-train --data REA", {"README.md"}),
        ("text-classifier-train imdb --preset ", {"dense", "ngram"}),
        ("text-classifier-train evaluate --rep", {"--report"}),
    ],
)
def test_bash_is_offered_commands_options_choices_and_files(line: str, offered: set[str], scripts: Path) -> None:
    words = line.split(" ")
    done = subprocess.run(
        ["bash", "-c", ASK, "bash", scripts, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert offered <= set(done.stdout.split()), done.stderr
    assert all(reply.startswith(words[-1]) for reply in done.stdout.split())


@pytest.mark.parametrize(("shell", "check"), [("zsh", ["-n"]), ("fish", ["--no-execute"])])
def test_other_shells_can_read_their_scripts(shell: str, check: list[str], scripts: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    for script in (scripts / shell).rglob("*text-classifier*"):
        subprocess.run([shell, *check, script], check=True)
