"""Logs each lasting problem, such as an unreadable folder, only once until it changes or is solved."""

from typing import Literal

import structlog

_log = structlog.get_logger()


class ProblemLog:
    """The current problems, by subject."""

    def __init__(self) -> None:
        self._problems: dict[str, tuple[str, dict[str, object]]] = {}

    def report(
        self,
        subject: str,
        event: str,
        *,
        level: Literal["warning", "error"] = "error",
        cause: Exception | None = None,
        **details: object,
    ) -> None:
        """Logs a problem with the traceback of its cause, unless it is the subject's current problem already."""
        problem = event, details
        if self._problems.get(subject) != problem:
            self._problems[subject] = problem
            getattr(_log, level)(event, exc_info=cause, **details)

    def solved(self, subject: str) -> None:
        """Forgets a problem. If it recurs, it is logged again."""
        self._problems.pop(subject, None)

    @property
    def reasons(self) -> list[str]:
        """The reasons of all problems that have one."""
        return [str(details["reason"]) for _, details in self._problems.values() if "reason" in details]
