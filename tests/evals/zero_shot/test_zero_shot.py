"""The zero-shot suite against scikit-learn and a plain reference."""

from types import SimpleNamespace

import fakes
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from bigclip.config import ConfigError
from bigclip.evals.embedding import Pictures
from bigclip.evals.ranks import ranking
from bigclip.evals.records import read_records
from bigclip.evals.sets import EvalSet
from bigclip.evals.zero_shot import class_scores
from bigclip.evals.zero_shot import suite as zero_shot

CONCEPTS = [f"thing {i}" for i in range(12)]
TEMPLATES = ["{}", "a photo of a {}.", "the {} here"]


def make_suite(source, **options):
    pictures = Pictures(source, batch_size=16, num_threads=1)
    return zero_shot.ZeroShot(EvalSet(read_records(source), pictures), **options)


def embed_all(model, meaning, source):
    images = np.stack([np.frombuffer(r.image, np.uint8).reshape(8, 8, 3) for r in source])
    return model.embed_images(images)


def test_equals_scikit_learn_with_prompts_averaged_in_embedding_space():
    source, meaning = fakes.make_source(CONCEPTS, list("abcdef"))
    source = source[:61]  # classes of unequal size
    model = fakes.FakeModel(meaning, noise=1.5)
    result = make_suite(source, templates=TEMPLATES).evaluate(model)

    classes = []
    for concept in sorted(CONCEPTS):
        emb = np.stack([fakes.vector(template.format(concept)) for template in TEMPLATES])
        emb = (emb / np.linalg.norm(emb, axis=1, keepdims=True)).mean(axis=0)
        classes.append(emb / np.linalg.norm(emb))
    scores = embed_all(model, meaning, source) @ np.stack(classes).T
    labels = [sorted(CONCEPTS).index(record.metadata["concept"]) for record in source]
    for k in (1, 5):
        expected = top_k_accuracy_score(labels, scores, k=k, labels=range(12))
        assert result.metrics[f"top{k}"] == pytest.approx(expected)
    expected = balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert result.metrics["mean_per_class"] == pytest.approx(expected)
    per_class = result.details["per_class"]
    assert sum(c["images"] for c in per_class.values()) == 61
    accuracy = sum(c["top1"] * c["images"] for c in per_class.values()) / 61
    assert accuracy == pytest.approx(result.metrics["top1"], abs=1e-4)  # stored with four digits
    assert result.chance["top1"] == pytest.approx(1 / 12)
    assert result.chance["top5"] == pytest.approx(5 / 12)


def test_the_length_of_an_embedding_does_not_matter():
    emb = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    groups = [[0, 1, 2], [3, 4, 5]]
    scaled = emb * np.array([[1], [10], [0.1], [3], [1], [7]], np.float32)
    np.testing.assert_allclose(  # float32 rounding of norms
        class_scores.ensemble_embeddings(scaled, groups),
        class_scores.ensemble_embeddings(emb, groups),
        atol=1e-6,
    )


def test_a_constant_model_is_at_chance():
    source, meaning = fakes.make_source(CONCEPTS, ["a", "b"])
    result = make_suite(source, templates=TEMPLATES).evaluate(
        fakes.FakeModel(meaning, constant=True)
    )
    for name, value in result.chance.items():
        assert result.metrics[name] == pytest.approx(value), name


class TreeModel(fakes.FakeModel):
    """A model whose outputs are trees, so that only its score can rank."""

    def __init__(self, meaning):
        super().__init__(meaning, noise=1.5)
        self.score_params = jnp.float32(2.0)
        self.task = SimpleNamespace(score=_tree_score)

    def embed_images(self, images):
        emb = super().embed_images(images)
        return {"values": np.stack([emb, 0.5 * emb], axis=1)}

    def embed_texts(self, texts):
        return {"query": super().embed_texts(texts)}


def _tree_score(params, images, texts):
    return params * jnp.einsum("ikd,td->it", images["values"], texts["query"])


def test_without_vectors_the_scores_are_averaged():
    source, meaning = fakes.make_source(CONCEPTS, ["a", "b", "c"])
    # Two names for one class: classes with unequal numbers of prompts.
    classes = {concept: concept for concept in CONCEPTS} | {"thing 3": ["thing 3", "third"]}
    model = TreeModel(meaning)
    result = make_suite(source, templates=TEMPLATES[:2], classes=classes).evaluate(model)

    emb = fakes.FakeModel(meaning, noise=1.5)
    images = embed_all(emb, meaning, source)
    scores = np.zeros((len(source), 12))
    for c, concept in enumerate(CONCEPTS):
        names = ["thing 3", "third"] if concept == "thing 3" else [concept]
        prompts = [template.format(name) for name in names for template in TEMPLATES[:2]]
        scores[:, c] = (images @ emb.embed_texts(prompts).T).mean(axis=1) * 2.0 * 1.5
    labels = [CONCEPTS.index(record.metadata["concept"]) for record in source]
    expected = top_k_accuracy_score(labels, scores, k=1, labels=range(12))
    assert result.metrics["top1"] == pytest.approx(expected)


def test_the_averaged_score_is_compiled_once():
    assert class_scores.mean_score(ranking.inner_product) is class_scores.mean_score(
        ranking.inner_product
    )


def test_classes_from_a_file_and_from_a_list(tmp_path):
    source, meaning = fakes.make_source(CONCEPTS, ["a"])
    model = fakes.FakeModel(meaning)
    more = [*CONCEPTS, "never seen"]
    (tmp_path / "names.txt").write_text("\n".join(more) + "\n")
    (tmp_path / "names.json").write_text('{"thing 0": "thing 0"}')
    for classes in (more, str(tmp_path / "names.txt")):
        result = make_suite(source, classes=classes).evaluate(model)
        assert result.counts["classes"] == 13
        assert result.counts["classes_with_images"] == 12
        assert result.metrics["top1"] == 1.0
    with pytest.raises(ConfigError, match="no class for the label 'thing 1'"):
        make_suite(source, classes=str(tmp_path / "names.json"))
    with pytest.raises(ConfigError, match="cannot read"):
        make_suite(source, classes=str(tmp_path / "absent.json"))


def test_labels_may_be_positions():
    source, meaning = fakes.make_source(CONCEPTS, ["a"])
    numbered = [
        record._replace(metadata={"cls": CONCEPTS.index(record.metadata["concept"])})
        for record in source
    ]
    result = make_suite(numbered, label="cls", classes=CONCEPTS).evaluate(fakes.FakeModel(meaning))
    assert result.metrics["top1"] == 1.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "concep"}, "Did you mean 'concept'"),
        ({"names": "nam"}, "Did you mean 'name'"),
        ({"templates": ["a photo"]}, "exactly one {}"),
        ({"templates": "{}"}, "must be a list"),
        ({"classes": 3}, "must be names"),
        ({"tile": 0}, "tile = 0: needs a whole number of at least 1"),
        ({"tile": "x"}, "tile = 'x': needs a whole number"),
        ({"calibration_bins": 2.5}, "calibration_bins = 2.5: needs a whole number"),
        ({"num_confusions": -1}, "num_confusions = -1: needs a whole number of at least 0"),
        ({"num_examples": True}, "num_examples = True"),
        ({"num_candidates": 0}, "num_candidates = 0"),
        ({"example_seed": -1}, "example_seed = -1"),
        ({"template_spread": "no"}, "template_spread = 'no': needs True or False"),
        ({"average_precision": "11_points"}, "Did you mean '11_point'"),
    ],
)
def test_mistakes_are_told(options, message):
    source, _ = fakes.make_source(CONCEPTS, ["a"])
    with pytest.raises(ConfigError, match=message):
        make_suite(source, **options)
