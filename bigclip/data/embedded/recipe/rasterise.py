"""Draw SVG documents and shrink pictures to the pack's 64 x 64 RGB WebP."""

import io

from PIL import Image, ImageChops

SIZE = 64
DRAW_SIZE = 256  # drawn larger, then shrunk, so that thin strokes survive
QUALITY = 80
DOTS_PER_INCH = 90  # of the drawing programs of 2005, for pages measured in points or mm
FAINTEST_LEVELS = 20  # of 255 that the darkest pixel must differ from white
MARGIN = 0.04  # of the side, around trimmed clip art


class RenderError(RuntimeError):
    """A picture that cannot be drawn, or is blank."""


def draw_svg(svg: str) -> Image.Image:
    """Draw an SVG document with resvg, the longer side ``DRAW_SIZE`` pixels, as RGBA.

    Raises:
        RenderError: resvg rejects the document.
        ImportError: resvg-py is not installed.
    """
    try:
        import resvg_py
    except ImportError as error:
        raise ImportError(
            "Rebuilding the embedded pack draws SVG with resvg-py: pip install 'bigclip[pack]'"
        ) from error
    try:
        # Width alone fixes the scale; a tall picture is shrunk again below. Fonts differ between
        # machines, so text elements are not drawn.
        png = resvg_py.svg_to_bytes(
            svg_string=svg, width=DRAW_SIZE, dpi=DOTS_PER_INCH, skip_system_fonts=True
        )
    except ValueError as error:
        raise RenderError(str(error)) from error
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    if image.height > 8 * DRAW_SIZE:
        raise RenderError(f"a strip of {image.width} x {image.height} pixels")
    return image


def picture(image: Image.Image, *, trim: bool) -> Image.Image:
    """Put an RGBA picture on a white square and shrink it.

    Args:
        image: RGBA, any size.
        trim: Cut empty borders first and leave ``MARGIN``. Emoji keep their borders, which tell
            "small square" from "large square"; clip art floats anywhere on its page.

    Returns:
        RGB, ``SIZE`` x ``SIZE``.

    Raises:
        RenderError: nothing is to be seen on white.
    """
    white = Image.new("RGBA", image.size, "white")
    flat = Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    visible = ImageChops.difference(flat, Image.new("RGB", flat.size, "white"))
    box = visible.convert("L").point(lambda v: 255 if v > 8 else 0).getbbox()
    if box is None:
        raise RenderError("blank on white")
    if trim:
        flat = flat.crop(box)
    side = max(flat.size)
    side = round(side * (1 + 2 * MARGIN)) if trim else side
    square = Image.new("RGB", (side, side), "white")
    square.paste(flat, ((side - flat.width) // 2, (side - flat.height) // 2))
    small = square.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    if 255 - min(low for low, _ in small.getextrema()) < FAINTEST_LEVELS:
        raise RenderError("too faint on white")
    return small


def webp(image: Image.Image) -> bytes:
    """Encode a picture as the pack stores it."""
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=6)
    return buffer.getvalue()
