"""Exponentials and logarithms of rows in vector instructions: the mathematics library takes one number at a time.

    exp x = 2^n exp r,  n = round(x / ln 2),  |r| <= ln 2 / 2:    Taylor's series of 14 terms
    ln x  = n ln 2 + 2 artanh s,  s = (m - 1) / (m + 1),  m = x / 2^n in [1 / sqrt 2, sqrt 2)

Both are within a few units of the last digit (`tests/nsbi/statistics/test_batched.py`).
"""

from __future__ import annotations

import numpy as np

from needle_parsl.nsbi.statistics.toys.compiled.compilation import exactly

LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""ln 2 in two parts, the first with trailing zeros, so that its multiples are exact."""
MAGIC = 4503599627370496.0
"""2^52: a whole number added to it stands in the last bits."""
LARGEST = 700.0
"""Of |x| in exp."""


@exactly
def exponential(x, scale, out, bits, n):
    """Put exp(scale x) into out, shape (n,) or more; bits is a row of int64 for the powers of two."""
    powers = bits.view(np.float64)
    for i in range(n):
        value = min(max(scale * x[i], -LARGEST), LARGEST)
        whole = np.rint(value * 1.4426950408889634)
        r = (value - whole * LN2_HIGH) - whole * LN2_LOW
        p = 1.1470745597729725e-11
        p = p * r + 1.6059043836821613e-10
        p = p * r + 2.08767569878681e-09
        p = p * r + 2.505210838544172e-08
        p = p * r + 2.755731922398589e-07
        p = p * r + 2.7557319223985893e-06
        p = p * r + 2.48015873015873e-05
        p = p * r + 1.984126984126984e-04
        p = p * r + 1.388888888888889e-03
        p = p * r + 8.333333333333333e-03
        p = p * r + 4.1666666666666664e-02
        p = p * r + 1.6666666666666666e-01
        p = p * r + 0.5
        p = p * r + 1.0
        out[i] = p * r + 1.0
        powers[i] = whole + (1023.0 + MAGIC)
    for i in range(n):
        bits[i] = bits[i] << 52
    for i in range(n):
        out[i] = out[i] * powers[i]


@exactly
def logarithm(x, out, bits, n):
    """Put ln x into out, for finite x > 0 that are not denormal; bits are two rows of int64, shape (2, n)."""
    values = x.view(np.int64)
    exponents, mantissas = bits[0].view(np.float64), bits[1].view(np.float64)
    for i in range(n):
        bits[0, i] = (values[i] >> 52) | 0x4330000000000000
        bits[1, i] = (values[i] & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000
    for i in range(n):
        m, e = mantissas[i], exponents[i] - (MAGIC + 1023.0)
        large = m > 1.4142135623730951
        m = 0.5 * m if large else m
        e = e + 1.0 if large else e
        s = (m - 1.0) / (m + 1.0)
        t = s * s
        p = 2.0 / 21.0
        p = p * t + 2.0 / 19.0
        p = p * t + 2.0 / 17.0
        p = p * t + 2.0 / 15.0
        p = p * t + 2.0 / 13.0
        p = p * t + 2.0 / 11.0
        p = p * t + 2.0 / 9.0
        p = p * t + 2.0 / 7.0
        p = p * t + 0.4
        p = p * t + 2.0 / 3.0
        p = p * t + 2.0
        out[i] = e * LN2_HIGH + (s * p + e * LN2_LOW)
