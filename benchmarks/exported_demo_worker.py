"""The demo's held-out sets, evaluated by transformers or open_clip alone.

    python benchmarks/exported_demo_worker.py transformers exported/demo DATA

Nothing of bigclip or JAX computes here: pictures come out of the tars by tarfile and Pillow, the
folder's own preprocessing and tokenizer prepare them, torch embeds and ranks. DATA is the folder of
the embedded data. Prints one JSON object.
"""

import io
import json
import math
import pathlib
import re
import statistics
import sys
import tarfile

import PIL.Image
import torch

KS = (1, 5, 10)
TEMPLATES = ("{}", "a picture of {}")
BATCH_SIZE = 128
TIE = 2e-6  # of a score: sums in float32 do not always come out the same


class Transformers:
    """A folder as transformers' Auto classes read it."""

    def __init__(self, folder: str):
        from transformers import AutoModel, AutoProcessor

        self.model = AutoModel.from_pretrained(folder).eval()
        self.processor = AutoProcessor.from_pretrained(folder)

    def embed_images(self, pictures):
        inputs = self.processor(images=pictures, return_tensors="pt")
        return self.model.get_image_features(**inputs).pooler_output

    def embed_texts(self, texts):
        options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
        ids = self.processor(text=texts, **options)["input_ids"]
        return self.model.get_text_features(input_ids=ids).pooler_output


class OpenClip:
    """A folder as open_clip's local-dir: reads it."""

    def __init__(self, folder: str):
        import open_clip

        self.model, _, self.prepare = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")

    def embed_images(self, pictures):
        return self.model.encode_image(torch.stack([self.prepare(one) for one in pictures]))

    def embed_texts(self, texts):
        return self.model.encode_text(self.tokenizer(texts))


FRAMEWORKS = {"transformers": Transformers, "open_clip": OpenClip}


def read_split(data: pathlib.Path, split: str) -> list[dict]:
    """Records of a split: the picture, its captions and what else its JSON holds."""
    records = []
    for path in sorted(data.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: member for member in tar.getmembers()}
            for name in members:
                key, suffix = name.rsplit(".", 1)
                if suffix != "json":
                    continue
                record = json.load(tar.extractfile(members[name]))
                content = tar.extractfile(members[f"{key}.webp"]).read()
                picture = PIL.Image.open(io.BytesIO(content)).convert("RGBA")
                white = PIL.Image.new("RGBA", picture.size, "white")
                record["picture"] = PIL.Image.alpha_composite(white, picture).convert("RGB")
                records.append(record)
    return records


def embed(fn, inputs: list) -> torch.Tensor:
    """Embed in batches; [I, D], of unit length."""
    parts = [fn(inputs[i : i + BATCH_SIZE]) for i in range(0, len(inputs), BATCH_SIZE)]
    return torch.nn.functional.normalize(torch.cat(parts), dim=-1)


def composed(captions: dict, pattern: str) -> str:
    """Fill "{name}, {keywords}", leaving out what was said before."""
    said = set()

    def new_texts(match):
        texts = [text for text in captions[match[1]] if text.casefold() not in said]
        said.update(text.casefold() for text in texts)
        return ", ".join(texts or captions[match[1]])

    return re.sub(r"\{(\w+)\}", new_texts, pattern)


def recalls(scores: torch.Tensor, right: torch.Tensor) -> dict[str, float]:
    """R@k of the rows, of which each has several right columns; expected, ties broken by lot.

    Names of words that the tokenizer leaves out are one and the same to the model.
    """
    best = scores.masked_fill(~right, -torch.inf).max(dim=1, keepdim=True).values
    margin = TIE * best.abs()
    tied = (scores - best).abs() <= margin
    counts = [
        one.sum(dim=1).tolist()
        for one in ((scores > best + margin) & ~right, tied & ~right, tied & right)
    ]
    return {
        f"R@{k}": statistics.fmean(hit(k, *row) for row in zip(*counts, strict=True)) for k in KS
    }


def hit(k: int, better: int, wrong: int, right: int) -> float:
    """How probably one of the `right` comes into the first k, in a tie with the `wrong`."""
    places = min(max(k - better, 0), wrong + right)
    return 1 - math.comb(wrong, places) / math.comb(wrong + right, places)


def texts_of(captions: dict, pattern: str) -> list[str]:
    """The texts of a record: those of a source, or one pattern filled in; maybe none."""
    fields = re.findall(r"\{(\w+)\}", pattern)
    if not fields:
        return captions.get(pattern, [])
    return [composed(captions, pattern)] if all(captions.get(one) for one in fields) else []


def retrieval(model, records: list[dict], pattern: str) -> dict[str, float]:
    """Both directions, ranked within each style; means over the styles."""
    records = [record for record in records if texts_of(record["captions"], pattern)]
    image_emb = embed(model.embed_images, [record["picture"] for record in records])
    sums: dict[str, list[float]] = {}
    for style in sorted({record["style"] for record in records}):
        rows = [i for i, record in enumerate(records) if record["style"] == style]
        own = [texts_of(records[i]["captions"], pattern) for i in rows]
        texts = list(dict.fromkeys(text for some in own for text in some))
        text_emb = embed(model.embed_texts, texts)
        right = torch.tensor([[text in some for text in texts] for some in own])
        scores = image_emb[rows] @ text_emb.T
        for direction, found in (
            ("image_to_text", recalls(scores, right)),
            ("text_to_image", recalls(scores.T, right.T)),
        ):
            for name, value in found.items():
                sums.setdefault(f"{direction}/{name}", []).append(value)
    return {name: sum(values) / len(values) for name, values in sums.items()}


def zero_shot(model, records: list[dict]) -> dict[str, float]:
    """Top-1 and top-5 over the concepts' names in two templates, averaged after embedding."""
    names = {record["concept"]: record["captions"]["name"][0] for record in records}
    classes = sorted(names)
    prompts = [template.format(names[one]) for one in classes for template in TEMPLATES]
    text_emb = embed(model.embed_texts, prompts).reshape(len(classes), len(TEMPLATES), -1).mean(1)
    text_emb = torch.nn.functional.normalize(text_emb, dim=-1)
    image_emb = embed(model.embed_images, [record["picture"] for record in records])
    right = torch.tensor([[record["concept"] == one for one in classes] for record in records])
    found = recalls(image_emb @ text_emb.T, right)
    return {"top1": found["R@1"], "top5": found["R@5"]}


def evaluate(framework: str, folder: str, data: str) -> dict[str, dict[str, float]]:
    """The demo's three suites at every checkpoint, by their names."""
    model = FRAMEWORKS[framework](folder)
    concepts = read_split(pathlib.Path(data), "heldout_concepts")
    style = read_split(pathlib.Path(data), "heldout_style")
    with torch.inference_mode():
        return {
            "heldout_concepts": retrieval(model, concepts, "{name}, {keywords}"),
            "heldout_names": retrieval(model, concepts, "name"),
            "heldout_style": zero_shot(model, style),
        }


if __name__ == "__main__":
    print(json.dumps(evaluate(*sys.argv[1:])))
