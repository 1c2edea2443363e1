"""Format "openai": the state dict of OpenAI's CLIP, as its `clip.load(path)` takes it.

Source: openai/CLIP `clip/model.py` and `clip/clip.py`. The released archives are read as they are,
vision transformers and ResNets. All else about a model is fixed there: heads are 64 wide, the
activation is QuickGELU, texts are cut by CLIP's tokenizer and pooled at the end of the text, and
pictures are cropped. What goes out must be so, too.

`clip.load` and `build_model` round the weights to float16, as the releases are; embeddings then
differ from float32's by some 1e-3. Load the file into `build_model(...).float()` once more for all
digits, as `reference` does.
"""

from bigclip.interop.format import Format
from bigclip.interop.openai.reading import read, recognises
from bigclip.interop.openai.reference import OpenAIReference
from bigclip.interop.openai.writing import write

_USAGE = """\
import clip

model, preprocess = clip.load("{path}", device="cpu")"""

FORMAT = Format(
    name="openai",
    title="OpenAI's CLIP: a state dict for clip.load",
    suffixes=(".pt", ".safetensors"),
    recognises=recognises,
    read=read,
    write=write,
    reference=OpenAIReference,
    install="pip install torch git+https://github.com/openai/CLIP",
    needs=("torch", "clip"),
    usage=_USAGE,
)
