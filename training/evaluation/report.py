"""The report of an evaluation on labelled texts: HTML or Markdown, and a summary for a terminal.

The document is written in Markdown. The HTML report is this document rendered, with the figures embedded.
"""

import base64
import html
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from markdown_it import MarkdownIt

from textfiles import counted, listed
from training.data import unknown_words
from training.data.labels import spelling_note
from training.evaluation import markdown
from training.evaluation.figures import calibration_curve, confusion_matrix, drawn
from training.evaluation.fonts import legend
from training.evaluation.metrics import CALIBRATION_BINS
from training.evaluation.shown_labels import visible
from training.evaluation.version_evaluation import EXCERPT, FileEvaluation
from training.whole_file import written_whole

_CONFUSION = "confusion"
_CALIBRATION = "calibration"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }}
th, td {{ border-bottom: 1px solid #ddd; padding: 0.3rem 0.8rem; text-align: left; vertical-align: top; }}
td {{ overflow-wrap: anywhere; min-width: 3rem; }}
img {{ max-width: 100%; }}
</style>
</head>
<body>
{body}</body>
</html>
"""


def write(path: Path, result: FileEvaluation) -> list[str]:
    """Writes the report: HTML with embedded figures, or Markdown with the figures in files beside it, named after it.
    Returns a sentence for each figure that is missing.

    Args:
        path: the file to write; its name ends in .html or .md.
        result: the evaluation to report.

    Raises:
        InputError: a file cannot be written.
    """
    figures = drawn(
        {
            _CONFUSION: lambda: confusion_matrix(result.evaluation, result.labels),
            _CALIBRATION: lambda: calibration_curve(result.evaluation.calibration),
        }
    )
    links = {name: name for name in figures.missing}
    if path.suffix == ".html":
        for name, image in figures.images.items():
            links[name] = f"data:image/png;base64,{base64.b64encode(image).decode()}"
        document = _document(result, links, figures.missing)
        body = MarkdownIt("commonmark", {"html": False}).enable("table").render(document)
        _write(path, _PAGE.format(title=html.escape(visible(_title(result))), body=body).encode())
        return figures.notes()
    for name, image in figures.images.items():
        file = path.with_name(f"{path.stem}_{name}.png")
        _write(file, image)
        links[name] = quote(file.name)
    _write(path, _document(result, links, figures.missing).encode())
    return figures.notes()


def _write(path: Path, content: bytes) -> None:
    with written_whole(path) as write:
        write(content)


def summary(result: FileEvaluation) -> list[tuple[str, str]]:
    """Returns the names and values of the metrics over all labels."""
    evaluation = result.evaluation
    low, high = evaluation.accuracy_interval
    data_set = result.version.folder.metadata.data_set
    return [
        ("texts", f"{result.texts:,}"),
        ("accuracy", f"{evaluation.accuracy:.4f} (95% interval {low:.4f} to {high:.4f})"),
        ("macro-F1", f"{evaluation.macro_f1:.4f}"),
        ("log loss", f"{evaluation.log_loss:.4f}"),
        ("expected calibration error", f"{evaluation.expected_calibration_error:.4f}"),
        ("unknown words", f"{result.unknown_word_ratio:.2%}"),
        ("unknown words in training", _share(data_set.unknown_word_ratio)),
        ("unknown words in validation", _share(data_set.validation_unknown_word_ratio)),
        *([("with the version's thresholds", str(result.selective))] if result.selective else []),
    ]


def _share(recorded: float | None) -> str:
    return "not recorded" if recorded is None else f"{recorded:.2%}"


def notes(result: FileEvaluation) -> list[str]:
    """Returns what readers must know besides the metrics, one sentence each."""
    found = []
    if unknown := result.unknown_labels:
        texts = counted(sum(unknown.values()), "text")
        found.append(
            f"The model does not know the labels {listed(unknown)} of {texts}: they count as wrong, and the log loss"
            f" leaves them out.{spelling_note(unknown, result.version.labels)}"
        )
    if result.learned:
        found.append(
            f"The model has learned {result.learned:,} of these texts: on new texts it is likely to be less accurate."
        )
    metadata, ratio = result.version.folder.metadata, result.unknown_word_ratio
    usual = metadata.data_set.validation_unknown_word_ratio
    if usual is not None and unknown_words.drifted(ratio, usual):
        found.append(
            f"{ratio:.0%} of the words are unknown, but {usual:.0%} of those of the validation texts: these texts"
            " differ from what the model has learned. Label some of them and train again."
        )
    elif ratio >= unknown_words.HIGH_RATIO:
        meaning = unknown_words.meaning(words_alone=metadata.training.get("features") == "words")
        found.append(f"{ratio:.0%} of the words are unknown: {meaning}.")
    return found


def _title(result: FileEvaluation) -> str:
    return f"{result.version.folder.metadata.name}, version {result.version.folder.path.name}, on {result.files.name}"


def _paragraphs(sentences: Iterable[str]) -> str:
    return "".join(f"{markdown.escaped(sentence)}\n\n" for sentence in sentences)


def _document(result: FileEvaluation, links: Mapping[str, str], missing: Mapping[str, str]) -> str:
    evaluation = result.evaluation
    per_class = [
        (markdown.escaped(label), *(f"{share:.3f}" for share in shares), f"{support:,}")
        for label, support, *shares in zip(
            result.labels,
            evaluation.support,
            evaluation.precision,
            evaluation.recall,
            evaluation.f1,
            strict=True,
        )
    ]
    mistakes = [
        (
            f"{mistake.confidence:.4f}",
            markdown.escaped(mistake.predicted),
            markdown.escaped(mistake.label),
            markdown.escaped(mistake.where),
            markdown.escaped(mistake.excerpt),
        )
        for mistake in result.mistakes
    ]
    return f"""# {markdown.escaped(_title(result))}

{markdown.table(("", "value"), summary(result))}

{_paragraphs(notes(result))}The interval is Wilson's. Macro-F1 is the mean F1 of the labels that occur in the texts:
each counts the same, however few texts it has. A share of unknown words well above that of the validation texts, for a
model of the other training texts, says that the texts have drifted away from what the model has learned.

## Labels

{markdown.table(("label", "precision", "recall", "F1", "texts"), per_class)}

{markdown.image("Texts by true and predicted label", links[_CONFUSION], missing)}

{_paragraphs(filter(None, [] if _CONFUSION in missing else [legend(result.labels)]))}
## Calibration

The expected calibration error has {CALIBRATION_BINS} bins of equal width, by winning probability. A dot below the line
is overconfident; the larger it is, the more texts it stands for.

{markdown.image("Share of right answers over the winning probability", links[_CALIBRATION], missing)}

## The most confident mistakes

Of each text its first {EXCERPT} characters. A mistake that the model is sure of is often a wrong label in the file.

{markdown.table(("probability", "predicted", "label in the file", "line", "text"), mistakes) if mistakes else "None."}
"""
