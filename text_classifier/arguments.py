"""The parser of the command line, which reports a wrong option in one line on standard error."""

import argparse
import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """Reports wrong options in one line, without the usage of every option, and suggests the most similar one."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parses the arguments. Ends the program with exit status 2 if one is unknown or wrong."""
        parsed, unknown = self.parse_known_args(args, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_suggestion(unknown, list(_flags(self)))}")
        return parsed

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit status 2."""
        program = self.prog.partition(" ")[0]
        self.exit(2, f"{program}: error: {' '.join(message.split())}: see {self.prog} --help\n")


def _flags(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yields the flags of a parser and of its subcommands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for subcommand in action.choices.values():
                yield from _flags(subcommand)


def _suggestion(unknown: Iterable[str], flags: Sequence[str]) -> str:
    """Returns what may be meant by the first unknown flag, to append to an error."""
    first = next((argument.partition("=")[0] for argument in unknown if argument.startswith("--")), "")
    close = difflib.get_close_matches(first, flags, 1)
    return f"; did you mean {close[0]}?" if close else ""
