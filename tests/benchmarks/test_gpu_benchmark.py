"""The GPU's programs do their work on a CPU, too, at tiny sizes; without a GPU they say so."""

import pytest

from benchmarks import gpu
from benchmarks.bigclip_gpu_worker import BigclipGpu
from benchmarks.published import MODELS, bigclip_config, write_random_batches


def test_without_a_gpu_it_says_so(capsys):
    gpu.main([])
    assert "no GPU" in capsys.readouterr().out


@pytest.mark.slow
def test_a_step_is_measured(tmp_path):
    arch = MODELS["tiny"]
    batches = write_random_batches(arch, tmp_path / "b.npz", batch_size=8, count=1)
    config = bigclip_config(arch, batch_size=8, dtype="bfloat16")
    found = BigclipGpu().step(config=config, batches=batches, count=2)
    assert found["seconds"] > 0
    row = {"model": "tiny", "name": "bigclip", "batch_size": 8, **found}
    row["mfu"] = found["flops_per_example"] * 8 / found["seconds"] / 1e12
    assert "tiny, bigclip | 8 |" in gpu.step_table([row])


@pytest.mark.parametrize("implementation", ["dense", "gather"])
def test_the_loss_alone_is_measured(implementation):
    what = {"batch_size": 32, "dim": 8}
    pairs = {"implementation": implementation}
    found = BigclipGpu().loss(**what, pairs=pairs, count=1)
    assert found["seconds"] > 0
    row = {"name": "bigclip", "precision": "highest", **what, **found}
    assert "bigclip, float32 | 32 |" in gpu.loss_table([row])


@pytest.mark.peers
def test_the_tiled_loss_is_that_of_all_pairs():
    import torch

    from benchmarks.tiled_torch_loss import tiled_softmax_loss

    generator = torch.Generator().manual_seed(0)
    embs = [
        torch.nn.functional.normalize(torch.randn(10, 4, generator=generator).double(), dim=1)
        for _ in range(2)
    ]

    def gradients(loss_fn):
        leaves = [x.clone().requires_grad_() for x in (*embs, torch.tensor(7.0).double())]
        loss = loss_fn(*leaves)
        loss.backward()
        return [loss.detach(), *(leaf.grad for leaf in leaves)]

    def dense(image_emb, text_emb, scale):
        logits, own = scale * image_emb @ text_emb.T, torch.arange(10)
        entropy = torch.nn.functional.cross_entropy
        return 0.5 * (entropy(logits, own) + entropy(logits.T, own))

    # float64; the last tile is smaller than the others.
    tiled = gradients(lambda *leaves: tiled_softmax_loss(*leaves, tile=4))
    for one, other in zip(tiled, gradients(dense), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)
