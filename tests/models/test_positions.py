"""Tables of positions on other grids and lengths."""

import numpy as np
import pytest

from bigclip.config import ConfigError
from bigclip.models.positions import position_grid, resize_image_positions, resize_text_positions

RNG = np.random.default_rng(0)


def table(rows, width=5):
    return RNG.normal(size=(rows, width)).astype(np.float32)


def keys_cubic(x):
    """Keys' kernel with a = -1/2, by its definition (Keys 1981, equation 15)."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0))


def weights(old, new):
    """[new, old]: every output is a mean of inputs under the kernel, wider when it gets smaller."""
    scale = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    kernel = keys_cubic((centres[:, None] - np.arange(old)) / scale)
    return kernel / kernel.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("old", "new", "num_class"), [(3, 5, 1), (7, 4, 0), (4, 4, 1), (1, 3, 0)])
def test_bicubic_by_its_definition(old, new, num_class):
    rows = table(old**2 + num_class)
    got = resize_image_positions(rows, new**2 + num_class)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:num_class], rows[:num_class])
    matrix, grid = weights(old, new), rows[num_class:].reshape(old, old, -1)
    wanted = np.einsum("yi,xj,ije->yxe", matrix, matrix, grid).reshape(new**2, -1)
    np.testing.assert_allclose(got[num_class:], wanted, atol=2e-6)


@pytest.mark.parametrize(("old", "new"), [(77, 32), (11, 23), (5, 5), (4, 1)])
def test_linear_by_its_definition(old, new):
    rows = table(old)
    got = resize_text_positions(rows, new, method="interpolate")
    places = (np.arange(new) + 0.5) * old / new - 0.5
    wanted = [np.interp(places, np.arange(old), column) for column in rows.T]
    np.testing.assert_allclose(got, np.transpose(wanted), atol=1e-6)


def test_texts_are_cut_or_stretched():
    rows = table(9)
    np.testing.assert_array_equal(resize_text_positions(rows, 4), rows[:4])
    longer = resize_text_positions(rows, 12)
    np.testing.assert_array_equal(longer, resize_text_positions(rows, 12, method="interpolate"))
    with pytest.raises(ConfigError, match="cannot be cut to 12"):
        resize_text_positions(rows, 12, method="truncate")
    with pytest.raises(ConfigError, match="Did you mean 'truncate'"):
        resize_text_positions(rows, 4, method="truncat")


def test_the_grid_is_told_by_its_rows():
    assert position_grid(49) == (0, 7)
    assert position_grid(50) == (1, 7)
    assert position_grid(2) == (1, 1)
    for rows in (0, 8, 51):
        with pytest.raises(ConfigError, match="no square grid"):
            position_grid(rows)
    with pytest.raises(ConfigError, match="class token"):
        resize_image_positions(table(10), 16)


@pytest.mark.peers
def test_torch_resizes_the_same():
    torch = pytest.importorskip("torch", reason="torch: pip install bigclip[peers]")
    interpolate = torch.nn.functional.interpolate
    for old, new in ((7, 14), (24, 16), (16, 27)):
        rows = table(old**2 + 1, width=7)
        grid = torch.tensor(rows[1:]).reshape(1, old, old, -1).permute(0, 3, 1, 2)
        wanted = interpolate(grid, (new, new), mode="bicubic", antialias=True, align_corners=False)
        wanted = wanted.permute(0, 2, 3, 1).reshape(new**2, -1).numpy()
        got = resize_image_positions(rows, new**2 + 1)
        np.testing.assert_allclose(got[1:], wanted, atol=2e-5)
    for old, new in ((77, 64), (64, 77), (77, 248)):
        rows = table(old, width=7)
        wanted = interpolate(torch.tensor(rows).T[None], new, mode="linear", align_corners=False)
        got = resize_text_positions(rows, new, method="interpolate")
        np.testing.assert_allclose(got, wanted[0].T.numpy(), atol=5e-5)
