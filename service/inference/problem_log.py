"""Problems that last, such as a folder that cannot be read: each is logged once, until it changes or is solved."""

from typing import Literal

import structlog

_log = structlog.get_logger()


class ProblemLog:
    """The problems that exist at present, by subject."""

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
        """Logs a problem, unless it was the subject's last one. The trace of its cause is logged with it."""
        problem = event, details
        if self._problems.get(subject) != problem:
            self._problems[subject] = problem
            getattr(_log, level)(event, exc_info=cause, **details)

    def solved(self, subject: str) -> None:
        """Forgets a problem: if it comes back, it is logged again."""
        self._problems.pop(subject, None)

    @property
    def reasons(self) -> list[str]:
        """The reasons of all problems that have one."""
        return [str(details["reason"]) for _, details in self._problems.values() if "reason" in details]
