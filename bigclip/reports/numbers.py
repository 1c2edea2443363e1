"""Numbers as a reader wants them: few digits, units, thin spaces."""

import math

THIN = "\u2009"  # thin space, between a number and its unit
_MINUS = "\u2212"


def percent(value: float) -> str:
    """0.3123 -> "31.2"; the unit stands in a heading or is added by the caller."""
    return f"{100 * value:.1f}"


def count(value: float) -> str:
    """1234567 -> "1,234,567"."""
    return f"{round(value):,}"


def short(value: float) -> str:
    """Four characters or so: 0.00123 -> "1.2e-3", 1234567 -> "1.23M", 5.5413 -> "5.54"."""
    if value == 0:
        return "0"
    if not math.isfinite(value):
        return "\u2013"
    sign, size = (_MINUS if value < 0 else ""), abs(value)
    for limit, unit in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{sign}{_trim(size / scale, 3)}{unit}"
    if size < 1e-3:
        digits, exponent = f"{size:.1e}".split("e")  # exact where 10**exponent is not a number
        return f"{sign}{_trim(float(digits), 2)}e{_MINUS}{-int(exponent)}"
    if size >= 1000:
        return f"{sign}{round(size):,}"
    return sign + _trim(size, 3)


def duration(seconds: float) -> str:
    """75 -> "1 min 15 s"."""
    seconds = round(seconds)
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
    parts.append((seconds % 60, "s"))
    while len(parts) > 1 and not parts[0][0]:
        parts.pop(0)
    return " ".join(f"{value}{THIN}{unit}" for value, unit in parts[:2])


def size(num_bytes: float) -> str:
    """Bytes in powers of 1024."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if num_bytes < 1024:
            return f"{_trim(num_bytes, 3)}{THIN}{unit}"
        num_bytes /= 1024
    return f"{_trim(num_bytes, 3)}{THIN}TiB"


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round values inside [low, high], 1, 2, 2.5 or 5 times a power of ten apart."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{n * step:.10g}") for n in range(first, last + 1)]


def _trim(value: float, digits: int) -> str:
    decimals = max(digits - 1 - math.floor(math.log10(max(abs(value), 1e-12))), 0)
    text = f"{value:.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
