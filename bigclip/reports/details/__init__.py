"""What a suite tells beside its numbers: one small section for each thing in its details.

A section reads what it needs from the details of the last step, whatever the kind of the suite, and
is left out where that is missing. Details of an older or a foreign format are named, not fatal.
"""

from collections.abc import Callable

from bigclip.reports.details import classes, health, limits, probes, robustness
from bigclip.reports.markup import Safe, element
from bigclip.reports.run import SuiteHistory

# In the order of the page.
SECTIONS: tuple[tuple[str, Callable[[SuiteHistory], Safe | None]], ...] = (
    ("limits", limits.skills),
    ("examples of the limits", limits.examples),
    ("corruptions", robustness.strengths),
    ("sweep", probes.sweep),
    ("folds", probes.folds),
    ("few-shot curve", probes.shots),
    ("calibration", classes.calibration),
    ("histograms", health.histograms),
    ("confusions", classes.confusions),
    ("templates", classes.templates),
    ("classes", classes.every_class),
)

# What reading a value of another shape or type than expected raises.
FOREIGN = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def sections_of(suite: SuiteHistory) -> list[Safe]:
    """Return the sections that a suite's last result has something for."""
    return [part for name, section in SECTIONS if (part := guarded(name, section, suite))]


def guarded(
    name: str, section: Callable[..., Safe | None], suite: SuiteHistory, *more
) -> Safe | None:
    """Return a section, or a sentence if what it reads has another format.

    Args:
        name: what the sentence calls the section.
        section: called with the suite and `more`.
        suite: whose details are read.
        *more: further arguments.
    """
    try:
        return section(suite, *more)
    except FOREIGN as error:
        said = (
            f"The {name} of {suite.name} at step {suite.last['step']:,} cannot be shown: they were "
            f"written in another format ({type(error).__name__})."
        )
        return element("p", said, class_="muted")
