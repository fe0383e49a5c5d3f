from markdown_it import MarkdownIt

from training.evaluation.markdown import escaped, table


def test_an_escaped_text_reads_as_it_was() -> None:
    text = "*a* _b_ [c](d) `e` <f> g|h ~i~ &amp; $j$ # k ! \\"
    assert MarkdownIt().parse(escaped(text))[1].children[0].type == "text"  # type: ignore[index]
    assert "".join(each.content for each in MarkdownIt().parse(escaped(text))[1].children or ()) == text
    assert escaped("a\n b\t") == "a b"


def test_a_table_has_a_line_below_its_head() -> None:
    assert table(["a", "b"], [["1", "2"], ["3", "4"]]) == "| a | b |\n| --- | --- |\n| 1 | 2 |\n| 3 | 4 |"
