"""How the embedded pack is made from public packages; needs the extra ``pack`` and npm, apt."""
