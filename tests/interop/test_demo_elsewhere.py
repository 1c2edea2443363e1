"""The demo's kind of model in transformers and open_clip alone: they find what bigclip finds.

With random weights, whose scores are near chance but just as exact; for the trained demo:
`python -m benchmarks.exported_demo`.
"""

import json
import pathlib

import pytest
from random_models import InMemory, send_out

import bigclip
from bigclip import evaluate
from bigclip.data import embedded
from bigclip.data.preprocess import Preprocess
from bigclip.data.tokenizer import train_tokenizer
from bigclip.interop.formats import FORMATS
from bigclip.interop.torchvision_import import import_torchvision
from bigclip.models import architecture
from configs import quickstart

SUITES = ("heldout_concepts", "heldout_names", "heldout_style")
DATA = pathlib.Path(embedded.__file__).parent
# A score that all but ties with the right one may change places: one picture of some hundred.
A_PICTURE = 0.005


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A checkpoint with the demo's architecture and preprocessing, and what bigclip finds."""
    config = quickstart.get_config()
    overrides = config.task.overrides.to_dict()
    overrides["text"]["vocab_size"] = 300
    arch = architecture(config.task.architecture, **overrides)
    words = ["a red fox on a lighthouse", "woman firefighter, fire engine"] * 4
    tokenizer = train_tokenizer(
        words, vocab_size=300, context_length=config.tokenizer.context_length
    )
    prepare = Preprocess(**config.preprocess.to_dict())
    folder = tmp_path_factory.mktemp("demo")
    checkpoint = InMemory(arch, tokenizer=tokenizer, preprocess=prepare).save(folder / "ours")
    suites = {name: config.evals[name].to_dict() for name in SUITES}
    evaluate.evaluate_checkpoint(checkpoint, evals=suites, out=folder / "results")
    lines = (folder / "results" / "evaluations.jsonl").read_text().splitlines()
    found = {one["suite"]: one["metrics"] for one in map(json.loads, lines)}
    return checkpoint, found


@pytest.mark.peers
@pytest.mark.slow
@pytest.mark.parametrize("framework", ["transformers", "open_clip"])
def test_the_same_figures_elsewhere(demo, tmp_path, framework):
    pytest.importorskip("torch", reason="evaluates there: pip install bigclip[peers]")
    import_torchvision()
    pytest.importorskip(framework, reason="pip install bigclip[peers]")
    from benchmarks.exported_demo_worker import evaluate as evaluate_there

    checkpoint, ours = demo
    folder = send_out(FORMATS[framework], checkpoint, tmp_path / framework)
    theirs = evaluate_there(framework, str(folder), str(DATA))
    assert theirs.keys() == set(SUITES)
    assert bigclip.load(checkpoint).manifest["task"]["architecture"]["image"]["pool"] == "class"
    for suite, metrics in theirs.items():
        for name, value in metrics.items():
            assert abs(value - ours[suite][name]) < A_PICTURE, (suite, name)
