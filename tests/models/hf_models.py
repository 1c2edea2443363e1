"""Build transformers' CLIPModel and SiglipModel from one of our architectures.

Only for tests marked `peers` and for the script that makes the goldens.
"""

import numpy as np
from hf_weights import draw

ACTIVATIONS = {"quick_gelu": "quick_gelu", "gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh"}


def build(arch: dict):
    """Return the published family's model with the shapes of `arch`."""
    import transformers

    image, text = arch["image"], arch["text"]

    def shared(fields: dict) -> dict:
        return {
            "hidden_size": fields["width"],
            "num_hidden_layers": fields["depth"],
            "num_attention_heads": fields["num_heads"],
            "intermediate_size": fields["mlp_width"],
            "hidden_act": ACTIVATIONS[fields["activation"]],
            "layer_norm_eps": fields["ln_eps"],
        }

    vision_config = shared(image) | {
        "image_size": image["image_size"],
        "patch_size": image["patch_size"],
    }
    text_config = shared(text) | {
        "vocab_size": text["vocab_size"],
        "max_position_embeddings": text["context_length"],
        "pad_token_id": 0,
        "bos_token_id": text["vocab_size"] - 2,
        "eos_token_id": text["vocab_size"] - 1,
    }
    if image["pool"] == "map":
        text_config["projection_size"] = arch["embed_dim"]
        return transformers.SiglipModel(
            transformers.SiglipConfig(text_config=text_config, vision_config=vision_config)
        ).eval()
    return transformers.CLIPModel(
        transformers.CLIPConfig(
            text_config=text_config,
            vision_config=vision_config,
            projection_dim=arch["embed_dim"],
        )
    ).eval()


def fill(model) -> dict[str, np.ndarray]:
    """Draw every weight of the model by its name, in place; return them."""
    import torch

    weights = {name: draw(name, tuple(p.shape)) for name, p in model.named_parameters()}
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.from_numpy(weights[name]))
    return weights


def outputs(model, images: np.ndarray, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Run the model; return unnormalised embeddings and logits [I, T]."""
    import torch

    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    ids = torch.from_numpy(tokens.astype(np.int64))
    with torch.no_grad():
        out = model(input_ids=ids, pixel_values=pixels)
        image_emb = model.get_image_features(pixel_values=pixels).pooler_output
        text_emb = model.get_text_features(input_ids=ids).pooler_output
    return {
        "image_emb": image_emb.numpy(),
        "text_emb": text_emb.numpy(),
        "logits": out.logits_per_image.numpy(),
    }
