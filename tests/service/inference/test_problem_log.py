from structlog.testing import capture_logs

from service.inference.problem_log import ProblemLog


def test_a_problem_is_logged_once_until_it_changes_or_is_solved() -> None:
    problems = ProblemLog()
    with capture_logs() as logs:
        for reason in ("a", "a", "b", "b", "a"):
            problems.report("x", "odd", reason=reason)
        problems.report("y", "odd", reason="a")
        problems.solved("x")
        problems.report("x", "odd", reason="a")
    assert [line["reason"] for line in logs] == ["a", "b", "a", "a", "a"]


def test_the_reasons_are_those_of_all_problems_that_last() -> None:
    problems = ProblemLog()
    with capture_logs() as logs:
        problems.report("x", "odd", reason="a", level="warning")
        problems.report("y", "gone")
        problems.report("z", "odd", reason="b", cause=ValueError("c"))
        problems.solved("x")
        problems.solved("unknown")
    assert problems.reasons == ["b"]
    assert [line["log_level"] for line in logs] == ["warning", "error", "error"]
    assert str(logs[2]["exc_info"]) == "c"
