"""A folder that `AutoModel` and `AutoProcessor` of transformers open."""

from pathlib import Path

from bigclip.interop.files import write_safetensors
from bigclip.interop.json_files import write_json
from bigclip.interop.outgoing import Outgoing
from bigclip.interop.transformers_folder.config_writing import choose_class, make_config
from bigclip.interop.transformers_folder.processors import make_processor
from bigclip.interop.transformers_folder.tables import CLASSES, computed, rows
from bigclip.interop.transformers_folder.tokenizer_writing import write_tokenizer


def write(folder: Path, model: Outgoing) -> None:
    """Write the weights, and the files of the configuration, the processor and the tokenizer.

    Args:
        folder: an empty one.
        model: the checkpoint.

    Raises:
        ConfigError: if no class of transformers can say the model; lists why.
    """
    model_type = choose_class(model)
    config = make_config(model, model_type)
    patches = model.shapes["image/position"][0]
    processor = make_processor(model.preprocess, model_type, patches)
    if model.preprocess.interpolation == "bilinear_aliased":
        model.notes.append(
            "transformers resizes with antialiasing: pictures will be prepared there with "
            "'bilinear' instead of 'bilinear_aliased', and large ones will come out smoother."
        )
    extra, used = computed(model_type, model.shapes)
    specs, arrays = model.translated(
        rows(model_type), where=CLASSES[model_type], extra=extra, without=used
    )
    # Padding is seen by SigLIP's texts, which are not causal; behind the end of CLIP's it is not.
    write_tokenizer(folder, model.tokenizer, masks=model_type == "clip")
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", processor)
    write_safetensors(folder / "model.safetensors", specs, arrays, metadata={"format": "pt"})
