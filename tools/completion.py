"""Writes the completion scripts of the commands for bash, fish and zsh: `python -m tools.completion FOLDER`.

FOLDER is a data folder in which the shells look, such as ~/.local/share or /usr/share.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import shtab

import bulk.cli
import service.config
import text_classifier.cli
import training.cli

PLACES = {
    "bash": "bash-completion/completions/{}",
    "fish": "fish/vendor_completions.d/{}.fish",
    "zsh": "zsh/site-functions/_{}",
}
"""Where each shell looks for the script of a command, below the data folder."""

_PATHS = {"FILE": shtab.FILE, "DIR": shtab.DIR}


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Yields the commands' parsers. Their options complete by metavar: FILE, DIR, or choices as a|b."""
    for parser in (text_classifier.cli.parser(), service.config.parser(), _training(), bulk.cli.parser()):
        _set_completions(parser)
        yield parser


def _training() -> argparse.ArgumentParser:
    """Returns one parser of all commands: the training command itself chooses a parser by its first word."""
    parser = argparse.ArgumentParser("text-classifier-train")
    training.cli.add_own_data(parser)
    commands = parser.add_subparsers()
    for name, add_options in training.cli.COMMANDS.items():
        add_options(commands.add_parser(name, help=name))
    return parser


def _set_completions(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                _set_completions(command)
        elif action.metavar in _PATHS:
            action.complete = _PATHS[action.metavar]  # type: ignore[attr-defined]  # shtab's attribute
        elif isinstance(action.metavar, str) and "|" in action.metavar:
            action.choices = action.metavar.split("|")


def main() -> None:
    """Writes the scripts."""
    for parser in parsers():
        for shell, place in PLACES.items():
            script = Path(sys.argv[1], place.format(parser.prog))
            script.parent.mkdir(parents=True, exist_ok=True)
            script.write_text(shtab.complete(parser, shell))


if __name__ == "__main__":
    main()
