"""Count the pack, and write its NOTICE: every source, its licence and its attribution."""

from collections import Counter

from bigclip.data.embedded.recipe.packages import PACKAGES, STYLES
from bigclip.data.embedded.recipe.shards import PackRecord

LICENSE_URLS = {
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "MIT": "https://opensource.org/license/mit (text below)",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/legalcode",
    "Public domain": "public-domain dedication stated in each file used",
}
HEADER = """NOTICE of the picture-text pack embedded in bigclip

The pictures and texts below come from the named packages. Changes made to every picture: drawn
or shrunk to 64 x 64 pixels on white, and saved as WebP; clip art is also trimmed to what is
drawn. Texts are selected from the named sources; clip-art titles are cleaned. No author or
company named here endorses bigclip.
"""
MIT_TEXT = """MIT License (Fluent Emoji)

Copyright (c) Microsoft Corporation.
Copyright (c) 2023 LobeHub (package @lobehub/fluent-emoji-3d).

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""
CLDR_TEXT = """UNICODE LICENSE V3 (emoji names and keywords from the Unicode CLDR)

COPYRIGHT AND PERMISSION NOTICE

Copyright (c) 2004-2026 Unicode, Inc.

NOTICE TO USER: Carefully read the following legal agreement. BY
DOWNLOADING, INSTALLING, COPYING OR OTHERWISE USING DATA FILES, AND/OR
SOFTWARE, YOU UNEQUIVOCALLY ACCEPT, AND AGREE TO BE BOUND BY, ALL OF THE
TERMS AND CONDITIONS OF THIS AGREEMENT. IF YOU DO NOT AGREE, DO NOT
DOWNLOAD, INSTALL, COPY, DISTRIBUTE OR USE THE DATA FILES OR SOFTWARE.

Permission is hereby granted, free of charge, to any person obtaining a
copy of data files and any associated documentation (the "Data Files") or
software and any associated documentation (the "Software") to deal in the
Data Files or Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, and/or sell
copies of the Data Files or Software, and to permit persons to whom the
Data Files or Software are furnished to do so, provided that either (a)
this copyright and permission notice appear with all copies of the Data
Files or Software, or (b) this copyright and permission notice appear in
associated Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY
KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT OF
THIRD PARTY RIGHTS.

IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE
BE LIABLE FOR ANY CLAIM, OR ANY SPECIAL INDIRECT OR CONSEQUENTIAL DAMAGES,
OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS,
WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THE DATA
FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall
not be used in advertising or otherwise to promote the sale, use or other
dealings in these Data Files or Software without prior written
authorization of the copyright holder.
"""


def summarise(records: list[PackRecord]) -> dict:
    """Count records, styles, concepts, groups, licences and bytes of pictures by split."""
    splits = {}
    for split in sorted({r.split for r in records}):
        part = [r for r in records if r.split == split]
        splits[split] = {
            "records": len(part),
            "concepts": len({r.metadata["concept"] for r in part}),
            "groups": len({r.metadata["group"] for r in part}),
            "image_bytes": sum(len(r.image) for r in part),
            "styles": dict(sorted(Counter(r.metadata["style"] for r in part).items())),
        }
    styles = Counter(r.metadata["style"] for r in records)
    licenses = Counter(r.metadata["license"] for r in records)
    sources = Counter(s for r in records for s in r.metadata["captions"])
    return {
        "records": len(records),
        "image_bytes": sum(len(r.image) for r in records),
        "splits": splits,
        "styles": dict(sorted(styles.items())),
        "licenses": dict(sorted(licenses.items())),
        "caption_sources": dict(sorted(sources.items())),
    }


def notice(summary: dict) -> str:
    """Write the NOTICE that goes with a pack of these counts."""
    packages = {p.name: p for p in PACKAGES}
    parts = [HEADER]
    for name, style in STYLES.items():
        package = packages[style.package]
        parts.append(
            f"{style.title} (style {name!r}): {summary['styles'].get(name, 0)} pictures\n"
            f"  package: {package.manager} {package.name} {package.version}\n"
            f"  upstream: {style.url}\n"
            f"  licence: {style.license}, {LICENSE_URLS[style.license]}\n"
            f"  {style.attribution}\n"
        )
    cldr = [p for p in PACKAGES if p.name.startswith("cldr-")]
    parts.append(
        "Emoji names and keywords: Unicode Common Locale Data Repository (CLDR)\n"
        + "".join(f"  package: {p.manager} {p.name} {p.version}\n" for p in cldr)
        + "  licence: Unicode-3.0, https://www.unicode.org/license.txt (text below)\n"
    )
    return "\n".join([*parts, MIT_TEXT, CLDR_TEXT])
