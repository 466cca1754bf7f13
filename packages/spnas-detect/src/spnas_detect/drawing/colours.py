"""A colour per class, the same in every picture."""

import colorsys

Colour = tuple[int, int, int]
"""Red, green and blue in 0…255."""

IGNORED: Colour = (160, 160, 160)
"""Of regions that do not count."""

_HUES = (0.98, 0.58, 0.12, 0.38, 0.80, 0.50, 0.05, 0.68, 0.24, 0.88)
_SHADES = ((0.85, 0.97), (1.0, 0.66), (0.45, 1.0))
_GOLDEN = 0.618033988749895


def class_colour(label: int) -> Colour:
    """Return the colour of label 1…C.

    The first ten classes have hues that are easy to tell apart, the next twenty the same hues darker and paler; further
    ones spread by the golden ratio, so that neighbours differ.
    """
    index = label - 1
    shade, place = divmod(index, len(_HUES))
    hue = _HUES[place] if shade < len(_SHADES) else index * _GOLDEN % 1
    saturation, value = _SHADES[shade % len(_SHADES)]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def text_colour(background: Colour) -> Colour:
    """Return black or white, whichever has more contrast with the background.

    Source of the formula: relative luminance and contrast ratio of the Web Content Accessibility Guidelines 2.1.
    """
    luminance = relative_luminance(background)
    return (0, 0, 0) if (luminance + 0.05) / 0.05 >= 1.05 / (luminance + 0.05) else (255, 255, 255)


def relative_luminance(colour: Colour) -> float:
    """Return the luminance of an sRGB colour, 0…1."""
    linear = [part / 255 / 12.92 if part <= 10 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
