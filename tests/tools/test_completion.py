"""The completion scripts, asked as the shells ask them."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server_process import ROOT

BASH = """
words=($2)
[[ $2 == *" " ]] && words+=("")
source "$1/bash-completion/completions/${words[0]}"
COMP_WORDS=("${words[@]}") COMP_CWORD=$((${#words[@]} - 1)) COMP_LINE=$2 COMP_POINT=${#2}
registered=$(complete -p "${words[0]}")
[[ $registered =~ -F\\ ([^ ]+) ]]
"${BASH_REMATCH[1]}" "${words[0]}" "${words[@]: -1}" "${words[@]: -2:1}"
printf '%s\\n' "${COMPREPLY[@]}"
"""
"""What bash does at a TAB: it sets the words of the line and calls the function that is registered for the command."""

FISH = """
source $argv[1]/fish/vendor_completions.d/(string split --fields 1 " " $argv[2]).fish
complete --do-complete $argv[2] | string replace --regex '/?(\\t.*)?$' ''
"""
"""What fish offers at a TAB. A description follows each offer, and a slash a folder."""

ZSH = """
fpath=($1/zsh/site-functions $fpath)
autoload -Uz compinit && compinit -D -u
for command in text-classifier text-classifier-server text-classifier-train text-classifier-bulk; do
    autoload +X $_comps[$command]
done
"""
"""zsh finds the function that completes a command and reads it."""

SHELLS = {"bash": ["bash", "-c", BASH, "bash"], "fish": ["fish", "--no-config", "-c", FISH]}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the scripts are written to."""
    folder = tmp_path_factory.mktemp("share")
    subprocess.run([sys.executable, "-m", "tools.completion", folder], cwd=ROOT, check=True)
    return folder


@pytest.mark.parametrize("shell", SHELLS)
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
        ("text-classifier-bulk --format ", {"parquet", "csv", "jsonl"}),
        ("text-classifier-bulk --model mod", {"models"}),
    ],
)
def test_a_shell_offers_commands_options_choices_and_files(
    shell: str, line: str, offered: set[str], scripts: Path
) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}")
    done = subprocess.run([*SHELLS[shell], scripts, line], cwd=ROOT, capture_output=True, text=True, check=True)
    assert offered <= set(done.stdout.split()), done.stderr
    assert all(reply.startswith(line.rpartition(" ")[2]) for reply in done.stdout.split())


def test_zsh_reads_the_scripts_of_the_commands(scripts: Path) -> None:
    if shutil.which("zsh") is None:
        pytest.skip("needs zsh")
    subprocess.run(["zsh", "-f", "-e", "-c", ZSH, "zsh", scripts], check=True)
