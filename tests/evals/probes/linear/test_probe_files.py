"""Files of probes and of features: what comes back, and what is damaged."""

import numpy as np
import pytest
from fake_sets import FakeSet, blobs, fake_model

from bigclip.config import ConfigError
from bigclip.evals.probes.linear.feature_files import KeptFeatures, save_features
from bigclip.evals.probes.linear.saved import Probe, load_probe, save_probe

PROBE = Probe(
    np.ones((3, 2), np.float32), np.zeros(2), ["0", "1"], ["a", "b"], "pooled", 1.0, "l2", False
)


def test_a_probe_comes_back(tmp_path):
    save_probe(tmp_path / "p.npz", PROBE)
    found = load_probe(tmp_path / "p.npz")
    assert found[2:] == PROBE[2:]
    np.testing.assert_array_equal(found.kernel, PROBE.kernel)
    x = np.array([[3.0, 0, 4], [0, 0, 0]])
    np.testing.assert_allclose(found.scores(x), [[1.4, 1.4], [0, 0]], rtol=1e-6)


def test_sets_come_back_with_their_own_layers(tmp_path):
    sets = {}
    for number, name in enumerate(("test", "testing")):  # one name begins with the other
        x, c = blobs(number, 20, 2, 3)
        sets[name] = FakeSet({"pooled": x}, c.tolist())
        digests = [bytes([number, row]) for row in range(20)]
        sets[name].records = sets[name].records._replace(digests=digests)
    save_features(tmp_path / "f.npz", sets, fake_model(), ("pooled",))
    kept = KeptFeatures(tmp_path / "f.npz").sets
    for name, one in sets.items():
        assert list(kept[name].layers) == ["pooled"]
        np.testing.assert_array_equal(kept[name].layers["pooled"], one._layers["pooled"])
        assert kept[name].records.metadata == one.records.metadata
        assert kept[name].records.digests == one.records.digests


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "array", "flipped", "missing"])
def test_what_is_damaged_is_told(damage, tmp_path):
    path = tmp_path / "p.npz"
    save_probe(path, PROBE)
    whole = path.read_bytes()
    if damage == "array":
        with path.open("wb") as file:
            np.save(file, np.zeros(3))
    elif damage == "missing":
        path.unlink()
    else:
        flipped = bytearray(whole)
        flipped[150] ^= 0xFF  # in an array: its checksum does not fit
        contents = {"cut": whole[:200], "empty": b"", "text": b"PK", "flipped": bytes(flipped)}
        path.write_bytes(contents[damage])
    with pytest.raises(ConfigError, match="cannot be read as a probe"):
        load_probe(path)
    with pytest.raises(ConfigError, match="cannot be read as a file of --features_out"):
        KeptFeatures(path)
