"""The classes of sets, and that sets share no pictures."""

import numpy as np
import pytest
from fake_sets import FakeSet

from bigclip.config import ConfigError
from bigclip.evals.probes.held_out import hold_out
from bigclip.evals.probes.targets import read_targets


def records(labels, digests=()):
    one = FakeSet({"pooled": np.zeros((len(labels), 1))}, labels)
    digests = [str(digest).encode() for digest in digests]
    return one.records._replace(digests=digests, fingerprint=str((labels, digests)))


def test_classes_are_those_of_the_training_set():
    found = read_targets(None, {"test": records([3, 1]), "train": records([1, 3, 2, 2])})
    assert found.classes == ["1", "2", "3"]
    assert found.of["test"].tolist() == [2, 0]
    assert found.of["train"].tolist() == [0, 2, 1, 1]
    several = read_targets(None, {"test": records([["a"], []]), "train": records([["b", "a"]])})
    assert several.of["test"].tolist() == [[True, False], [False, False]]
    assert several.is_multi


def test_numbers_are_sorted_by_their_size():
    found = read_targets(None, {"test": records([10]), "train": records([10, 9, 2, 9])})
    assert found.classes == ["2", "9", "10"]
    assert found.of["train"].tolist() == [2, 1, 0, 1]


def named(labels, names):
    one = records(labels)
    metadata = [{"label": label, "class_name": names[label]} for label in labels]
    return one._replace(metadata=metadata, fingerprint=str((labels, names)))


def test_sets_that_number_their_classes_otherwise_are_matched_by_name():
    """A folder of classes that lacks one numbers those behind it otherwise."""
    train = named([0, 1, 2], ["cat", "dog", "fox"])
    found = read_targets(None, {"test": named([0, 1], ["dog", "fox"]), "train": train})
    assert found.classes == ["cat", "dog", "fox"]
    assert found.of["test"].tolist() == [1, 2]
    same = read_targets(None, {"test": named([2], ["cat", "dog", "fox"]), "train": train})
    assert same.classes == ["0", "1", "2"]
    assert same.names == ["cat", "dog", "fox"]
    with pytest.raises(ConfigError, match="has the label 'owl', of which there is no record"):
        read_targets(None, {"test": named([0], ["owl"]), "train": train})
    with pytest.raises(ConfigError, match="class 0 is 'dog' in test and 'cat' in train"):
        read_targets("label", {"test": named([0], ["dog"]), "train": train})


def test_a_class_without_records_is_told_but_not_a_thousand_others():
    train = records([f"class {k}" for k in range(1000)])
    with pytest.raises(ConfigError, match="has the label 'class 99x', of which") as error:
        read_targets(None, {"test": records(["class 99x"]), "train": train})
    assert "Did you mean 'class 99" in str(error.value)
    assert len(str(error.value)) < 300
    with pytest.raises(ConfigError, match="Valid: a, b."):
        read_targets(None, {"test": records(["zz"]), "train": records(["a", "b"])})


def test_sets_of_other_sources_that_share_pictures_are_told(caplog):
    labels = [0, 1] * 50
    train = records(labels, range(100))
    apart = {"test": records(labels, range(100, 200)), "train": train}
    read_targets(None, apart)
    assert not caplog.text
    half = {"test": records(labels, range(50, 150)), "train": train}
    with pytest.raises(ConfigError, match="share records.* 50 of the 100 pictures of test"):
        read_targets(None, half)
    # As in published sets, of which some hold a picture twice.
    read_targets(None, {"test": records(labels, range(99, 199)), "train": train})
    assert "1 of the 100 pictures of test are also in train" in caplog.text


def test_the_share_of_every_class_is_held_out():
    class_of = np.repeat([0, 1, 2], [40, 10, 1])
    held = hold_out(class_of, 0.2, seed=0)
    assert np.bincount(class_of[held], minlength=3).tolist() == [8, 2, 0]
    assert (hold_out(class_of, 0.2, seed=1) != held).any()
    labels = np.zeros((51, 3), bool)
    labels[np.arange(51), class_of] = True
    labels[40:, 0] = True  # the rarest label of a row counts
    np.testing.assert_array_equal(hold_out(labels, 0.2, seed=0), held)
