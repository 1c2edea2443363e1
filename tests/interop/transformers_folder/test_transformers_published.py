"""The configurations of models on the hub, as they stand there, are the architectures of ours.

config.json and preprocessor_config.json of each repository, without keys of PretrainedConfig that
say nothing about the model (generation, names of classes of labels, versions).
"""

import json

import pytest

from bigclip.data.preprocess import CLIP_MEAN, CLIP_STD, Preprocess
from bigclip.interop.json_files import read_json
from bigclip.interop.transformers_folder.config_reading import read_config
from bigclip.interop.transformers_folder.processors import read_processor
from bigclip.models import architecture

QUICK = {"image": {"activation": "quick_gelu"}, "text": {"activation": "quick_gelu"}}
GELU = {"image": {"activation": "gelu"}, "text": {"activation": "gelu"}}


def whole_tower(kind, sizes, act, **more):
    """A part in which every key stands, as early versions wrote them."""
    width, mlp, layers, heads = sizes
    return {
        "attention_dropout": 0.0,
        "dropout": 0.0,
        "hidden_act": act,
        "hidden_size": width,
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": mlp,
        "layer_norm_eps": 1e-05,
        "model_type": f"clip_{kind}_model",
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        **more,
    }


def whole_clip(text, vision, patch_size, projection_dim, *, act="quick_gelu", image_size=224):
    words = {"bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 1}
    words |= {"max_position_embeddings": 77, "vocab_size": 49408}
    return {
        "architectures": ["CLIPModel"],
        "initializer_factor": 1.0,
        "logit_scale_init_value": 2.6592,
        "model_type": "clip",
        "projection_dim": projection_dim,
        "text_config": whole_tower("text", text, act, **words),
        "text_config_dict": None,
        "vision_config": whole_tower(
            "vision", vision, act, image_size=image_size, patch_size=patch_size
        ),
        "vision_config_dict": None,
    }


B_TEXT, B_VISION = (512, 2048, 12, 8), (768, 3072, 12, 12)
L_TEXT, L_VISION = (768, 3072, 12, 12), (1024, 4096, 24, 16)
H_TEXT, H_VISION = (1024, 4096, 24, 16), (1280, 5120, 32, 16)
BIGG_TEXT, BIGG_VISION = (1280, 5120, 32, 20), (1664, 8192, 48, 16)
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# Says everything twice; what stands under "_dict" counts.
L_14 = whole_clip(L_TEXT, L_VISION, 14, 768) | {
    "text_config_dict": dict(zip(SIZES, L_TEXT, strict=True)) | {"projection_dim": 768},
    "vision_config_dict": dict(zip(SIZES, L_VISION, strict=True))
    | {"patch_size": 14, "projection_dim": 768},
}
L_14_336 = whole_clip(L_TEXT, L_VISION, 14, 768, image_size=336)
SO400M = {
    "hidden_size": 1152,
    "intermediate_size": 4304,
    "num_attention_heads": 16,
    "num_hidden_layers": 27,
}
SIGLIP = {"architectures": ["SiglipModel"], "initializer_factor": 1.0, "model_type": "siglip"}
TEXT, VISION = {"model_type": "siglip_text_model"}, {"model_type": "siglip_vision_model"}
GEMMA_TEXT = {
    "attention_dropout": 0.0,
    "hidden_act": "gelu_pytorch_tanh",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-06,
    "max_position_embeddings": 64,
    "num_attention_heads": 12,
    "num_hidden_layers": 12,
    "projection_size": 768,
    "vocab_size": 256000,
}

# Pictures: the first feature extractor, the class of later versions, and those of SigLIP.
MOMENTS = {"image_mean": list(CLIP_MEAN), "image_std": list(CLIP_STD)}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
DO = {"do_normalize": True, "do_resize": True}
FIRST = {
    "crop_size": 224,
    "do_center_crop": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "resample": 3,
    "size": 224,
    **DO,
    **MOMENTS,
}
LATER = {
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_rescale": True,
    "image_processor_type": "CLIPImageProcessor",
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
    **DO,
    **MOMENTS,
}


def siglip_processor(size, resample):
    return {
        "do_rescale": True,
        "image_processor_type": "SiglipImageProcessor",
        "processor_class": "SiglipProcessor",
        "resample": resample,
        "rescale_factor": 0.00392156862745098,
        "size": {"height": size, "width": size},
        **DO,
        **HALF,
    }


NAFLEX = {
    "do_convert_rgb": True,
    "do_rescale": True,
    "image_processor_type": "Siglip2ImageProcessor",
    "max_num_patches": 256,
    "patch_size": 16,
    "processor_class": "Siglip2Processor",
    "resample": 2,
    "rescale_factor": 0.00392156862745098,
    **DO,
    **HALF,
}

CLIP_CROP = {"resize": "crop", "mean": CLIP_MEAN, "std": CLIP_STD}
SQUASH = {"resize": "squash", "mean": (0.5,) * 3, "std": (0.5,) * 3}
BILINEAR = SQUASH | {"interpolation": "bilinear"}

# Repository: config.json, preprocessor_config.json; ours, how it differs, and how pictures come in.
PUBLISHED = {
    "openai/clip-vit-base-patch32": (
        whole_clip(B_TEXT, B_VISION, 32, 512), FIRST, "clip-vit-b-32", {}, CLIP_CROP),
    "openai/clip-vit-base-patch16": (
        whole_clip(B_TEXT, B_VISION, 16, 512), FIRST, "clip-vit-b-16", {}, CLIP_CROP),
    "openai/clip-vit-large-patch14": (L_14, FIRST, "clip-vit-l-14", {}, CLIP_CROP),
    "openai/clip-vit-large-patch14-336": (
        L_14_336, FIRST | {"size": 336, "crop_size": 336}, "clip-vit-l-14-336", {}, CLIP_CROP),
    "laion/CLIP-ViT-B-32-laion2B-s34B-b79K": (
        whole_clip(B_TEXT, B_VISION, 32, 512, act="gelu"), FIRST, "clip-vit-b-32", GELU, CLIP_CROP),
    "laion/CLIP-ViT-H-14-laion2B-s32B-b79K": (
        whole_clip(H_TEXT, H_VISION, 14, 1024, act="gelu"),
        FIRST, "openclip-vit-h-14", {}, CLIP_CROP),
    "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k": (
        whole_clip(BIGG_TEXT, BIGG_VISION, 14, 1280, act="gelu"),
        LATER, "openclip-vit-bigg-14", {}, CLIP_CROP),
    "apple/DFN5B-CLIP-ViT-H-14": (
        whole_clip(H_TEXT, H_VISION, 14, 1024), LATER, "openclip-vit-h-14", QUICK, CLIP_CROP),
    "facebook/metaclip-b32-400m": (
        whole_clip(B_TEXT, B_VISION, 32, 512), LATER, "clip-vit-b-32", {}, CLIP_CROP),
    "facebook/metaclip-h14-fullcc2.5b": (
        whole_clip(H_TEXT, H_VISION, 14, 1024), LATER, "openclip-vit-h-14", QUICK, CLIP_CROP),
    "google/siglip-base-patch16-224": (
        SIGLIP | {"text_config": TEXT, "vision_config": VISION},
        siglip_processor(224, 3), "siglip-b-16-224", {}, SQUASH),
    "google/siglip-base-patch16-256-multilingual": (
        SIGLIP
        | {"text_config": TEXT | {"vocab_size": 250000}}
        | {"vision_config": VISION | {"image_size": 256}},
        siglip_processor(256, 3), "siglip-b-16-256-i18n", {}, SQUASH),
    "google/siglip-so400m-patch14-384": (
        SIGLIP
        | {"text_config": TEXT | SO400M}
        | {"vision_config": VISION | SO400M | {"image_size": 384, "patch_size": 14}},
        siglip_processor(384, 3), "siglip-so400m-14-384", {}, SQUASH),
    "google/siglip2-base-patch16-224": (
        SIGLIP | {"text_config": TEXT | GEMMA_TEXT, "vision_config": VISION},
        siglip_processor(224, 2), "siglip2-b-16-224", {}, BILINEAR),
    "google/siglip2-base-patch16-naflex": (
        {
            "architectures": ["Siglip2Model"],
            "initializer_factor": 1.0,
            "model_type": "siglip2",
            "text_config": GEMMA_TEXT | {"model_type": "siglip2_text_model"},
            "vision_config": {"model_type": "siglip2_vision_model", "num_patches": 256},
        },
        NAFLEX, "siglip2-b-16-256", {}, BILINEAR),
}  # fmt: skip


@pytest.mark.parametrize("repository", PUBLISHED)
def test_published_configurations_are_ours(repository, tmp_path):
    config, processor, name, changes, prepare = PUBLISHED[repository]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(processor))
    path = tmp_path / "config.json"
    found = read_config(read_json(path), path)
    assert found.architecture == architecture(name, **changes)
    assert found.model_type == config["model_type"]
    size = found.architecture["image"]["image_size"]
    assert read_processor(tmp_path, found.model_type, size)[0] == Preprocess(size=size, **prepare)


def test_where_published_models_pool():
    """At id 2 that stands for the largest one; under "_dict" the default, which is the largest."""
    configs = {name: entry[0] for name, entry in PUBLISHED.items() if "clip" in name.lower()}
    pools = {name: read_config(config, name).eos_token_id for name, config in configs.items()}
    assert pools.pop("openai/clip-vit-large-patch14") == 49407
    assert set(pools.values()) == {2}
