"""The packages from which the embedded pack is made: pinned versions, checksums and licences."""

from typing import NamedTuple


class Package(NamedTuple):
    """One archive of a package registry."""

    name: str
    version: str
    manager: str  # "npm" or "apt"
    sha256: str


class Style(NamedTuple):
    """One family of pictures and what its licence asks for."""

    package: str
    title: str
    license: str  # SPDX identifier, or "Public domain"
    attribution: str
    url: str


PACKAGES = (
    Package(
        "@iconify-json/noto",
        "1.2.9",
        "npm",
        "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad",
    ),
    Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "npm",
        "2bf62c26c2c2884aa99e90aec942cdaee17a5921f05690694f4978ad4b017c37",
    ),
    Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "npm",
        "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175",
    ),
    Package(
        "@lobehub/fluent-emoji-3d",
        "1.1.0",
        "npm",
        "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    ),
    Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "npm",
        "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7",
    ),
    Package(
        "@iconify-json/emojione",
        "1.2.3",
        "npm",
        "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
    ),
    Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "npm",
        "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
    ),
    Package(
        "cldr-annotations-full",
        "48.2.0",
        "npm",
        "28576e51225deb51e3ddd734b0f824a0079682cb5d8c27faa9f68149317a14d1",
    ),
    Package(
        "cldr-annotations-derived-full",
        "48.2.0",
        "npm",
        "4be946ff5815f806ec78b50363d577a769f2fbfb90c6380a44e161a92436996e",
    ),
    Package(
        "openclipart-svg",
        "1:0.18+dfsg-19",
        "apt",
        "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5",
    ),
)

STYLES = {
    "noto": Style(
        "@iconify-json/noto",
        "Noto Emoji",
        "Apache-2.0",
        "Copyright Google Inc.",
        "https://github.com/googlefonts/noto-emoji",
    ),
    "noto-v1": Style(
        "@iconify-json/noto-v1",
        "Noto Emoji, first design",
        "Apache-2.0",
        "Copyright Google Inc.",
        "https://github.com/googlefonts/noto-emoji",
    ),
    "fluent-flat": Style(
        "@iconify-json/fluent-emoji-flat",
        "Fluent Emoji, flat",
        "MIT",
        "Copyright (c) Microsoft Corporation.",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "fluent-3d": Style(
        "@lobehub/fluent-emoji-3d",
        "Fluent Emoji, 3D",
        "MIT",
        "Copyright (c) Microsoft Corporation; package Copyright (c) 2023 LobeHub.",
        "https://github.com/microsoft/fluentui-emoji",
    ),
    "twemoji": Style(
        "@iconify-json/twemoji",
        "Twemoji",
        "CC-BY-4.0",
        "Copyright Twitter, Inc and other contributors (graphics).",
        "https://github.com/jdecked/twemoji",
    ),
    "emojione": Style(
        "@iconify-json/emojione",
        "EmojiOne 2.3 (continued as Emojitwo)",
        "CC-BY-4.0",
        "Emoji artwork of EmojiOne 2 (https://www.emojione.com) by Ranks.com, kept by Emojitwo.",
        "https://github.com/EmojiTwo/emojitwo",
    ),
    "fxemoji": Style(
        "@iconify-json/fxemoji",
        "FxEmojis (Firefox OS Emoji)",
        # The package says Apache-2.0, which upstream grants for the code; its LICENSE.md puts
        # the visual design under CC BY 4.0. The pack follows upstream, the stricter of the two.
        "CC-BY-4.0",
        "Copyright 2015 Mozilla Foundation.",
        "https://github.com/mozilla/fxemoji",
    ),
    "openclipart": Style(
        "openclipart-svg",
        "Open Clip Art Library 0.18",
        "Public domain",
        "Dedicated to the public domain by its artists, file by file.",
        "https://openclipart.org",
    ),
}

HELD_OUT_STYLE = "fxemoji"

# CLDR locales whose emoji names go into the pack beside English.
LANGUAGES = ("ar", "de", "es", "fr", "hi", "ja", "pt", "ru", "sw", "zh")
