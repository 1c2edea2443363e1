"""Texts to try tokenizers on: real captions in many scripts, awkward ones, and invented ones."""

import functools
import json
import tarfile

import hypothesis.strategies as st

from bigclip.data import embedded

AWKWARD = (
    "",
    " ",
    "\t\n",
    "\x00",
    "red\x00fox",
    "\x01\x02\x1b[31mred\x7f",
    "a \u200bzero\u200dwidth\ufeff fox",
    "e\u0301 is é, \u1e9e is ß, \u0130 is i, Σίσυφος ΣΊΣΥΦΟΣ",
    "שלום, שועל אדום! \u202eabc\u202c",
    "ثعلب أحمر ١٢٣ في الثلج",
    "นี่คือสุนัขจิ้งจอก",
    "赤い狐が、雪の中で。 ㍿ ㈱ ｆｕｌｌ　ｗｉｄｔｈ",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🦊🇩🇪 ☃️",
    "a\u0301\u0323\u0300\u0327 z̷a̷l̷g̷o̷",
    "&lt;p&gt; &amp;amp; &eacute;",
    "Ã©tÃ© â€œquotedâ€\x9d",
    "<s> </s> <pad> <unk> <bos> <eos> [CLS] [SEP] [PAD] <|startoftext|> <|endoftext|>",
    "it's 'S we'LL they're I'M you'd don't 'ſ",
    "x_y-z #tag @me 3.14 1,000 http://a.b/c?d=e%20f",
    "▁already▁spaced ##ing Ġword",
    "\U0010ffff \ufffd \ue000",
    "aaaa" * 30,
    "long " * 200,
    "𝒻𝑜𝓍 ⅷ ² ½",
)


@functools.cache
def captions(every: int = 25) -> tuple[str, ...]:
    """Every so many-th caption of the embedded pack, in fourteen languages and kinds."""
    found = []
    for shard in embedded.shards("train")[:3]:
        with tarfile.open(shard) as tar:
            for member in tar:
                if member.name.endswith(".json"):
                    stored = json.load(tar.extractfile(member))["captions"]
                    found += [text for texts in stored.values() for text in texts]
    return tuple(found[::every])


def invented(**options) -> st.SearchStrategy[str]:
    """Any characters, more often those that tokenizers treat in a way of their own."""
    alphabet = st.one_of(
        # Assigned ones: libraries disagree about what the newest version of Unicode adds.
        st.characters(exclude_categories=("Cs", "Cn")),
        st.characters(max_codepoint=127),
        st.sampled_from("\x00\x1f\xa0\u0301\u0345\u200b\u200d\u202e\ufe0f'ſ_ ▁é狐狸ثعשΣς🦊👩0９²Ⅷ"),
    )
    return st.text(alphabet, **options)
