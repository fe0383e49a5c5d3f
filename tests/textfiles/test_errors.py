from textfiles import counted, listed


def test_a_noun_agrees_with_its_count() -> None:
    assert [counted(count, "file") for count in (0, 1, 2, 2000)] == ["0 files", "1 file", "2 files", "2,000 files"]


def test_names_beyond_the_limit_are_counted() -> None:
    assert listed("abc", 3) == "'a', 'b', 'c'"
    assert listed("abcd", 3) == "'a', 'b', 'c' and 1 more"
