"""The extras of the distribution `text-classifier`: what a command reports if a package of its extra is missing."""

import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import ParamSpec

_ROOT = Path(__file__).parents[1]
_OWN_PACKAGES = ("bulk", "service", "text_classifier", "textfiles", "textmodel", "training")

_P = ParamSpec("_P")


def how_to_install(extra: str) -> str:
    """Returns an instruction to install an extra, from the sources or from the wheel, as this package was installed."""
    if (_ROOT / "pyproject.toml").exists():
        return f"run .venv/bin/pip install -c constraints.txt -e '.[{extra}]' in the project's folder"
    return f"run pip install 'WHEEL[{extra}]', where WHEEL is the file text_classifier-*.whl"


def needs_extra(program: str, extra: str) -> Callable[[Callable[_P, int]], Callable[_P, int]]:
    """Decorates the main function of a command: it reports a missing package in one line, with exit status 2."""

    def decorate(main: Callable[_P, int]) -> Callable[_P, int]:
        @wraps(main)
        def command(*args: _P.args, **kwargs: _P.kwargs) -> int:
            try:
                return main(*args, **kwargs)
            except ModuleNotFoundError as error:
                if str(error.name).partition(".")[0] in _OWN_PACKAGES:
                    raise
                print(f"{program}: error: {error.name} is not installed: {how_to_install(extra)}", file=sys.stderr)
                return 2

        return command

    return decorate
