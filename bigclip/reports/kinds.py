"""What the page shows of each kind of suite, as data: columns, main numbers, and curves.

A metric's name may hold one star, "shots=*/top1": it stands for every metric of the results that
fits, in natural order, and {} in the label for what the star matched. A kind that is not in the
table is shown, too: all its metrics, as plain numbers.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple


class Column(NamedTuple):
    """A metric and how it is shown.

    Attributes:
        metric: its name in the results; one star for several.
        label: the heading.
        form: "percent" of a share, "rank" of a position, or "number".
        group: a heading over neighbouring columns.
        better: "higher", "lower", or "" where neither is.
    """

    metric: str
    label: str
    form: str = "percent"
    group: str = ""
    better: str = "higher"


class Chart(NamedTuple):
    """Metrics of one scale, drawn over the training steps.

    Attributes:
        unit: of the values, beside the title.
        columns: the lines, at most eight.
    """

    unit: str
    columns: tuple[Column, ...]


class Kind(NamedTuple):
    """What is shown of a kind of suite.

    Attributes:
        title: what the suite is, in words.
        columns: of the tables.
        main: of the tile at the top; the first that is there is set large.
        charts: over the training steps.
        compared: where runs are compared; the main ones by default.
        note: what to know to read the numbers.
        pooled: how groups of records make the main numbers, if these are means over groups.
    """

    title: str
    columns: tuple[Column, ...]
    main: tuple[Column, ...] = ()
    charts: tuple[Chart, ...] = ()
    compared: tuple[Column, ...] = ()
    note: str = ""
    pooled: str = ""


_COMPARED = 6  # metrics of an unknown kind
_FOUND = "image \u2192 text"
_DRAWN = "text \u2192 image"
_LABELLED = (
    Column("top1", "top-1"),
    Column("top5", "top-5"),
    Column("mean_per_class", "mean per class"),
    Column("mAP", "mAP"),
    Column("roc_auc", "ROC AUC"),
)
_LIMITS = (
    Column("counting", "counting"),
    Column("spatial", "spatial relations"),
    Column("word_order", "word order"),
    Column("attributes", "attribute binding"),
    Column("negation", "negation"),
)


def _ranked(way: str, group: str) -> tuple[Column, ...]:
    return (
        Column(f"{way}/R@1", "R@1", group=group),
        Column(f"{way}/R@5", "R@5", group=group),
        Column(f"{way}/R@10", "R@10", group=group),
        Column(f"{way}/median_rank", "median rank", "rank", group, "lower"),
        Column(f"{way}/mrr", "MRR", group=group),
    )


def _main(what: str) -> tuple[Column, ...]:
    """Return the main numbers of a suite with labels: top-1, and mAP where there is no top-1."""
    names = {"top1": "top-1", "mAP": "mAP", "top5": "top-5", "mean_per_class": "mean per class"}
    return tuple(Column(metric, f"{what}, {label}") for metric, label in names.items())


KINDS: Mapping[str, Kind] = {
    "retrieval": Kind(
        title="retrieval",
        columns=(
            *_ranked("image_to_text", _FOUND),
            *_ranked("text_to_image", _DRAWN),
            Column("paraphrase/AO@*", "AO@{}", group="under paraphrase"),
            Column("paraphrase/JS@*", "JS@{}", group="under paraphrase"),
        ),
        main=(
            Column("image_to_text/R@1", f"{_FOUND}, R@1"),
            Column("text_to_image/R@1", f"{_DRAWN}, R@1"),
        ),
        charts=(
            Chart(
                "R@1, %", (Column("image_to_text/R@1", _FOUND), Column("text_to_image/R@1", _DRAWN))
            ),
        ),
        note="R@k: a query counts as right if any of its right candidates is among the first k. "
        "Texts that are equal as strings are one text; a picture may have several right texts, and "
        "a text several right pictures. Ties are broken by lot, in expectation: a model that "
        "scores everything alike stands at chance, neither above nor below.",
        pooled="each ranked within itself",
    ),
    "zero_shot": Kind(
        title="zero-shot classification",
        columns=(
            *_LABELLED,
            Column("ece", "calibration error", better="lower"),
            Column("template_min", "worst", group="single templates"),
            Column("template_max", "best", group="single templates"),
            Column("template_std", "std. dev.", group="single templates", better="lower"),
        ),
        main=_main("zero-shot"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[1], _LABELLED[3])),),
    ),
    "linear_probe": Kind(
        title="linear probe",
        columns=_LABELLED,
        main=_main("linear probe"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[2], _LABELLED[3])),),
        note="A linear probe is a logistic regression on frozen features; its strength of "
        "regularisation is chosen on a validation split, never on the test set.",
    ),
    "few_shot": Kind(
        title="few-shot probe",
        columns=(
            Column("shots=*/top1", "{} shots"),
            Column("top1", "top-1"),
            Column("std", "std. dev. of the draws", better="lower"),
        ),
        main=(Column("shots=*/top1", "top-1, {} shots"),),
        charts=(Chart("top-1, %", (Column("shots=*/top1", "{} shots"),)),),
        note="A few-shot probe is a ridge regression on so many labelled pictures of each class, "
        "drawn several times: the numbers are means over the draws.",
    ),
    "knn": Kind(
        title="nearest neighbours",
        columns=(_LABELLED[0], Column("k=*/top1", "k = {}"), _LABELLED[2]),
        main=(Column("top1", "nearest neighbours, top-1"),),
        charts=(Chart("top-1, %", (Column("k=*/top1", "k = {}"),)),),
    ),
    "attentive_probe": Kind(
        title="attentive probe",
        columns=_LABELLED,
        main=_main("attentive probe"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[2])),),
        note="An attentive probe trains one attention pooling on the frozen features of the "
        "patches.",
    ),
    "limits": Kind(
        title="limits",
        columns=(*_LIMITS, Column("mean", "mean")),
        main=(Column("mean", "limits, mean of the tasks"),),
        charts=(Chart("accuracy, %", _LIMITS),),
        compared=(Column("mean", "mean"), *_LIMITS),
        note="Limits are measured on drawn scenes whose wrong texts hold the same words or nearly "
        "so: whoever looks at the texts alone, or at the picture alone, stands at chance.",
    ),
    "health": Kind(
        title="health of the embeddings",
        columns=(
            Column("alignment", "alignment", "number", better="lower"),
            Column("uniformity_image", "image", "number", "uniformity", "lower"),
            Column("uniformity_text", "text", "number", "uniformity", "lower"),
            Column("modality_gap", "modality gap", "number", better=""),
            Column("effective_rank_image", "image", "number", "effective rank", ""),
            Column("effective_rank_text", "text", "number", "effective rank", ""),
            Column("positive_logit_mean", "right pairs", "number", "mean logit", ""),
            Column("negative_logit_mean", "wrong pairs", "number", "mean logit", ""),
        ),
        charts=(
            Chart(
                "alignment and uniformity, smaller is better",
                (
                    Column("alignment", "alignment", "number"),
                    Column("uniformity_image", "unif., image", "number"),
                    Column("uniformity_text", "unif., text", "number"),
                ),
            ),
            Chart(
                "effective rank",
                (
                    Column("effective_rank_image", "image", "number"),
                    Column("effective_rank_text", "text", "number"),
                ),
            ),
            Chart("modality gap", (Column("modality_gap", "", "number"),)),
        ),
        compared=(
            Column("alignment", "alignment", "number", better="lower"),
            Column("uniformity_image", "uniformity, image", "number", better="lower"),
            Column("modality_gap", "modality gap", "number", better=""),
            Column("effective_rank_image", "effective rank, image", "number", better=""),
        ),
        note="Alignment is the mean squared distance of right pairs, uniformity the logarithm of "
        "the mean Gaussian kernel of all pairs (Wang and Isola, 2020): smaller is better for both. "
        "The modality gap is the distance between the mean image and the mean text embedding.",
    ),
    "robustness": Kind(
        title="robustness to corruptions",
        columns=(
            Column("clean", "clean"),
            Column("mean", "mean over corruptions"),
            Column("relative", "relative to clean"),
        ),
        main=(
            Column("mean", "mean over corruptions"),
            Column("clean", "clean"),
            Column("relative", "relative to clean"),
        ),
        charts=(Chart("accuracy, %", (Column("clean", "clean"), Column("mean", "corrupted"))),),
    ),
}


def kind_of(name: str, metrics: Mapping[str, float]) -> Kind:
    """Return what is shown of a kind, for an unknown one everything that is there.

    Args:
        name: the kind, a key of `KINDS` or not.
        metrics: of one result.
    """
    if name in KINDS:
        return KINDS[name]
    columns = tuple(Column(metric, _in_words(metric), "number", better="") for metric in metrics)
    charts = (Chart(columns[0].label, (columns[0]._replace(label=""),)),) if columns else ()
    return Kind(name.replace("_", " "), columns, charts=charts)


def expand(columns: Iterable[Column], metrics: Mapping[str, float]) -> list[Column]:
    """Return those columns that the metrics have, each star replaced by what it stands for."""
    found = []
    for column in columns:
        head, star, tail = column.metric.partition("*")
        if not star:
            found += [column] if column.metric in metrics else []
            continue
        fitting = re.compile(re.escape(head) + r"([^/]+)" + re.escape(tail))
        matches = [match for name in metrics if (match := fitting.fullmatch(name))]
        for match in sorted(matches, key=lambda match: natural(match[1])):
            label = column.label.replace("{}", match[1])
            label = label.replace("1 shots", "1 shot") if match[1] == "1" else label
            found.append(column._replace(metric=match[0], label=label))
    return found


def compared_columns(name: str, metrics: Mapping[str, float]) -> list[Column]:
    """Return the columns in which runs are compared; for an unknown kind its first ones."""
    kind = kind_of(name, metrics)
    return expand(kind.compared or kind.main or kind.columns[:_COMPARED], metrics)


def columns_of(name: str, metrics: Mapping[str, float]) -> list[Column]:
    """Return the columns of a table of results: the kind's, then further plain metrics.

    A metric that the table of kinds does not name is shown as a number at the end, unless its name
    holds a slash: those are parts of tables of their own.
    """
    columns = expand(kind_of(name, metrics).columns, metrics)
    named = {column.metric for column in columns}
    return columns + [
        Column(metric, _in_words(metric), "number", better="")
        for metric in metrics
        if metric not in named and "/" not in metric
    ]


def natural(text: str) -> tuple:
    """Return a key that sorts "k=5" before "k=20"."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts if part)


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")
