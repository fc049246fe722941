"""Cut-off frequencies in fractions of Nyquist."""

from synthgap.errors import UserError


def half_width_from_nyquist(fraction: float, side: int) -> int:
    """Half-width in pixels of a cut-off given as a fraction of the Nyquist frequency.

    Rounds down, as paper A's code does.

    Args:
        fraction: in (0, 1]; 1 is Nyquist, side / 2 cycles an image.

    Raises:
        UserError: nothing is left, or the fraction lies outside that range.

    Examples:
        >>> half_width_from_nyquist(0.1, 256)
        12
    """
    if not 0 < fraction <= 1:
        raise UserError(f"a cut-off is a fraction of Nyquist in (0, 1], not {fraction}")
    # The small term keeps 0.58 * 100 / 2 = 28.999999999999996 at 29.
    half_width = int(fraction * side / 2 + 1e-9)
    if half_width < 1:
        raise UserError(
            f"a cut-off of {fraction} of Nyquist is under one pixel at a side of {side}; "
            f"it must be at least {2 / side:.3g}"
        )
    return half_width
