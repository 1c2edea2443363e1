"""What the page shows of each kind of suite, as data: columns, main numbers, and curves.

A kind that is not in the table is shown, too: all its metrics, as plain numbers.
"""

import re
from collections.abc import Mapping

from bigclip.reports.columns import Chart, Column, Kind, expand

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
            Column("ood/aupr", "AUPR", group="pictures of no class"),
            Column("ood/auroc", "AUROC", group="pictures of no class"),
            Column("ood/fpr95", "FPR95", group="pictures of no class", better="lower"),
        ),
        main=_main("zero-shot"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[1], _LABELLED[3])),),
    ),
    "linear_probe": Kind(
        title="linear probe",
        columns=(
            *_LABELLED,
            Column("top1/std", "top-1", group="std. dev. of the folds", better="lower"),
            Column(
                "mean_per_class/std",
                "mean per class",
                group="std. dev. of the folds",
                better="lower",
            ),
            Column("mAP/std", "mAP", group="std. dev. of the folds", better="lower"),
        ),
        main=_main("linear probe"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[2], _LABELLED[3])),),
        note="A linear probe is a logistic regression on frozen features; its strength of "
        "regularisation is chosen on a validation split, never on the test set.",
    ),
    "few_shot": Kind(
        title="few-shot probe",
        columns=(
            Column("shots=*/top1", "{}-shot"),
            Column("top1", "top-1"),
            Column("std", "std. dev. of the draws", better="lower"),
            Column("mean_per_class", "mean per class"),
        ),
        main=(Column("shots=*/top1", "{}-shot, top-1"),),
        charts=(Chart("top-1, %", (Column("shots=*/top1", "{}-shot"),)),),
        note="A few-shot probe is a ridge regression on so many labelled pictures of each class, "
        "drawn several times: the numbers are means over the draws.",
    ),
    "knn": Kind(
        title="nearest neighbours",
        columns=(
            _LABELLED[0],
            _LABELLED[2],
            Column("k=*/top1", "k = {}", group="weighted by cosine"),
            Column("votes/k=*/top1", "k = {}", group="one vote each"),
        ),
        main=(Column("top1", "nearest neighbours, top-1"),),
        charts=(Chart("top-1, %", (Column("k=*/top1", "k = {}"),)),),
        note="Nearest neighbours: a picture gets the class of the k training pictures with the "
        "highest cosines, whose votes are weighted by their cosines or count the same.",
    ),
    "attentive_probe": Kind(
        title="attentive probe",
        columns=_LABELLED,
        main=_main("attentive probe"),
        charts=(Chart("accuracy, %", (_LABELLED[0], _LABELLED[2])),),
        note="An attentive probe trains one attention pooling on the frozen features of the "
        "patches.",
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
        elsewhere=r"[^=/]+(/\d+)?",
        note="Robustness is zero-shot accuracy on corrupted pictures (as Hendrycks and Dietterich, "
        "2019); relative is the mean over corruptions and strengths by the clean accuracy.",
    ),
    "limits": Kind(
        title="limits",
        columns=(*_LIMITS, Column("mean", "mean"), Column("control", "control")),
        main=(Column("mean", "limits, mean of the skills"),),
        charts=(Chart("accuracy, %", _LIMITS),),
        compared=(Column("mean", "mean"), *_LIMITS),
        elsewhere=r"[^/]+/(text|image|group)_score",
        note="Limits are measured on drawn scenes whose wrong texts hold the same words or nearly "
        "so: whoever looks at the texts alone, or at the picture alone, stands at chance. The "
        "control is a skill that every trained model should pass; the mean leaves it out.",
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
            Column("positive_logit_std", "right pairs", "number", "std. dev. of logits", ""),
            Column("negative_logit_std", "wrong pairs", "number", "std. dev. of logits", ""),
            Column("logit_scale", "scale", "number", "of the logits", ""),
            Column("logit_bias", "bias", "number", "of the logits", ""),
            Column("positive_cosine_mean", "right pairs", "number", "mean cosine", ""),
            Column("negative_cosine_mean", "wrong pairs", "number", "mean cosine", ""),
            Column("mean_cosine_image", "images", "number", "mean cosine", ""),
            Column("mean_cosine_text", "texts", "number", "mean cosine", ""),
            Column("image_norm_mean", "mean", "number", "norm before the last step", ""),
            Column("image_norm_std", "std. dev.", "number", "norm before the last step", ""),
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
            Chart(
                "mean logits",
                (
                    Column("positive_logit_mean", "right pairs", "number"),
                    Column("negative_logit_mean", "wrong pairs", "number"),
                ),
            ),
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


def compared_columns(name: str, metrics: Mapping[str, float]) -> list[Column]:
    """Return the columns in which runs are compared; for an unknown kind its first ones."""
    kind = kind_of(name, metrics)
    return expand(kind.compared or kind.main or kind.columns[:_COMPARED], metrics)


def columns_of(name: str, metrics: Mapping[str, float]) -> list[Column]:
    """Return the columns of a table of results: the kind's, then further plain metrics.

    A metric that the table of kinds does not name is shown as a number at the end, unless its name
    holds a slash or a table of the kind's own shows it.
    """
    kind = kind_of(name, metrics)
    columns = expand(kind.columns, metrics)
    named = {column.metric for column in columns}
    elsewhere = re.compile(kind.elsewhere)
    return columns + [
        Column(metric, _in_words(metric), "number", better="")
        for metric in metrics
        if metric not in named and "/" not in metric and not elsewhere.fullmatch(metric)
    ]


def _in_words(metric: str) -> str:
    return metric.replace("_", " ")
