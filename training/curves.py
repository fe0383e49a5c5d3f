"""Figures of the trials on held-out texts."""

from collections import defaultdict

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.classifiers.features import describe
from training.classifiers.history import History, best_epoch
from training.classifiers.selection import Selection


def curves(history: History) -> Figure:
    """Draws loss and accuracy of training and validation over the epochs, with the best epoch marked."""
    best = best_epoch(history)
    epochs = np.arange(1, len(history["loss"]) + 1)
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        axes.plot(epochs, history[metric], "o-", markersize=4, color="tab:gray", label="training")
        axes.plot(epochs, history[f"val_{metric}"], "o-", markersize=4, color="tab:blue", label="validation")
        at_best = history[f"val_{metric}"][best - 1]
        axes.axvline(best, linestyle=":", color="tab:red")
        axes.plot(best, at_best, "*", markersize=14, color="tab:red", label=f"best epoch {best}: {at_best:.3f}")
        axes.set(title=metric.capitalize(), xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def trial_curves(selection: Selection) -> Figure:
    """Draws the accuracy of each choice of features over the cost, dashed for trials on a sample. The chosen trial is
    marked.
    """
    figure = Figure(figsize=(10, 5), layout="constrained")
    axes = figure.subplots()
    points: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    for trial in selection.trials:
        points[describe(trial.settings), trial.texts].append((trial.settings.required_cost, trial.accuracy))
    names = list(dict.fromkeys(name for name, _ in points))
    for (name, texts), curve in points.items():
        color, line = f"C{names.index(name)}", "-" if texts == selection.best.texts else "--"
        costs, accuracies = zip(*sorted(curve), strict=True)
        axes.plot(costs, accuracies, line, marker=".", color=color, label=f"{name}, {texts:,} texts")
    cost, accuracy = selection.best.settings.required_cost, selection.best.accuracy
    axes.plot(cost, accuracy, "*", markersize=14, color="tab:red", label=f"chosen: {accuracy:.3f}")
    axes.set(title=f"{selection.metric.capitalize()} on texts that were held out", xlabel="cost", xscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure
