"""A model of ours as a folder that open_clip opens as "local-dir:"."""

from pathlib import Path

from bigclip import models
from bigclip.interop.files import write_safetensors
from bigclip.interop.json_files import write_json
from bigclip.interop.open_clip_folder.config_writing import is_trunk, make_config
from bigclip.interop.open_clip_folder.preprocessing import make_preprocess
from bigclip.interop.open_clip_folder.reading import CONFIG, WEIGHTS
from bigclip.interop.open_clip_folder.tables import CUSTOM_TEXT, TRUNK, Layout, rows
from bigclip.interop.open_clip_folder.tokenizers import (
    tokenizer_config,
    tokenizer_notes,
    write_tokenizer_of,
)
from bigclip.interop.openai_rows import folded
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.timm_folder.writing import trunk_extra


def write(folder: Path, model: Outgoing) -> None:
    """Write open_clip_config.json, open_clip_model.safetensors and the tokenizer's files.

    What open_clip computes or cleans otherwise goes to the notes of the model.

    Raises:
        ConfigError: if open_clip has no words for the model; says what it lacks.
    """
    arch = model.architecture
    config = make_config(model)
    config["text_cfg"] |= tokenizer_config(model)
    content = {"model_cfg": config, "preprocess_cfg": make_preprocess(model.preprocess)}
    layout, (extra, used) = Layout(), ({}, ())
    if is_trunk(arch):
        layout = Layout(trunk=True, text=CUSTOM_TEXT)
        extra, used = trunk_extra(arch["image"], TRUNK)
    elif not models.is_resnet(arch["image"]):
        # A text tower without projection is one of open_clip's, too.
        extra, used = folded(arch, text=False)
    specs, arrays = model.translated(
        rows(arch, layout), where="open_clip", extra=extra, without=used
    )
    model.notes += tokenizer_notes(model)
    write_tokenizer_of(folder, model)
    write_json(folder / CONFIG, content)
    write_safetensors(folder / WEIGHTS[0], specs, arrays, metadata={"format": "pt"})
