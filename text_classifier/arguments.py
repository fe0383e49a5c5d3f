"""The parser of the command line, which reports a wrong option in one line on standard error."""

import argparse
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """Reports wrong options in one line, without the usage of every option."""

    def error(self, message: str) -> NoReturn:
        """Ends the program with exit status 2."""
        program = self.prog.partition(" ")[0]
        self.exit(2, f"{program}: error: {' '.join(message.split())}: see {self.prog} --help\n")
