"""Pods that are not there, and what is said where one cannot be."""

import importlib.util
import os
import sys

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.parallel import make_mesh
from bigclip.planning import topology
from bigclip.planning.chips import CHIPS
from bigclip.planning.topology import make_pod, wrapped


@pytest.mark.parametrize(
    ("name", "slices", "chips", "devices"),
    [
        pytest.param("v5e:16x16", 1, 256, 256, marks=pytest.mark.tpu_compiler),
        pytest.param("v5e:1x1", 1, 1, 1, marks=pytest.mark.tpu_compiler),
        pytest.param("v6e:4x8", 2, 64, 64, marks=pytest.mark.tpu_compiler),
        pytest.param("v4:8x8x16", 1, 1024, 1024, marks=pytest.mark.tpu_compiler),
        pytest.param("v5p:8x8x8", 1, 512, 512, marks=pytest.mark.tpu_compiler),
        pytest.param("tpu7x:4x4x4", 1, 64, 128, marks=pytest.mark.tpu_compiler),
    ],
)
def test_finds_the_devices_of_a_pod(name, slices, chips, devices):
    pod = make_pod(name, num_slices=slices)
    assert (pod.num_chips, len(pod.devices)) == (chips, devices)
    mesh = make_mesh(devices=pod.devices, replica=slices)
    assert mesh.devices.size == devices
    assert mesh.shape["replica"] == slices


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("v5e:3x3", "no such slice.*v5e:16x16.*--slices"),
        ("v5e:32x16", "no such slice"),
        ("v5e:16", "no such slice"),
        ("v5e:", "no such slice"),
        ("v5e:many", "no such slice"),
        ("v4:4x4", "no such slice.*v4:2x2x2.*multiples of 4"),
        ("v4:4x4x6", "no such slice"),
        ("v3:4x4", "no choice 'v3'.*v5e"),
        ("h100:64", "only a TPU's program"),
    ],
)
def test_lists_the_known_ones_where_one_is_unknown(name, expected):
    with pytest.raises(ConfigError, match=expected):
        make_pod(name)


def test_says_what_to_install(monkeypatch):
    monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'bigclip\[tpu\]'"):
        make_pod("v5e:2x2")


def test_the_user_s_environment_is_kept(monkeypatch):
    if importlib.util.find_spec("libtpu") is None:
        monkeypatch.setitem(sys.modules, "libtpu", object())
        monkeypatch.setattr(topology.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setenv("TPU_WORKER_ID", "7")
    monkeypatch.setattr(topology.topologies, "get_topology_desc", lambda *args, **kw: _Fake())
    make_pod("v5e:2x2")
    assert os.environ["TPU_WORKER_ID"] == "7"
    assert os.environ["ALLOW_MULTIPLE_LIBTPU_LOAD"] == "1"


class _Fake:
    devices = ()


def test_which_rings_close():
    assert wrapped(CHIPS["v5e"], (8, 16)) == (False, True)
    assert wrapped(CHIPS["v4"], (4, 4, 8)) == (True, True, True)
    assert wrapped(CHIPS["v4"], (2, 4, 4)) == (False, False, False)


def test_the_facts_are_of_the_right_size():
    for chip in CHIPS.values():
        assert 1e14 < chip.peak_flops < 1e16
        assert 10e9 < chip.limit_bytes < 200e9
        assert chip.dcn_bytes_per_second < chip.link_bytes_per_second * 2 * chip.torus_axes
        assert chip.hbm_bytes_per_second > chip.link_bytes_per_second


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.tpu_compiler) for name in ("v5e:16x16", "v4:8x8x16")],
)
def test_an_axis_may_be_part_of_a_physical_one(name):
    pod = make_pod(name)
    mesh = make_mesh(devices=pod.devices, fsdp=4)
    assert mesh.shape["data"] == len(pod.devices) // 4
    # The members of an fsdp group, which talk most, are neighbours in a row.
    for group in mesh.devices.reshape(-1, 4):
        steps = np.diff([device.coords for device in group], axis=0)
        assert (np.abs(steps).sum(axis=1) == 1).all()
