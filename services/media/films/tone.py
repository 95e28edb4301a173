"""From HDR and wide colours to BT.709, as a table of colours that libav's `lut3d` applies. Pure.

The light of PQ (SMPTE 2084) and HLG (ARIB B67, shown at 1,000 cd/m²) is rolled off as BT.2390 says: what is darker than
some 95 cd/m² stays as it is, diffuse white (203 cd/m²) comes to nine tenths, and 1,000 cd/m² to white. The same factor
goes to red, green and blue, so that colours keep their hue; colours outside of BT.709 are cut to it.

libav's own colour management does this too, and takes 20 s to get ready; this takes a fifth of a second.
"""

import functools
from collections.abc import Iterator
from itertools import product
from typing import Literal

Curve = Literal["pq", "hlg", "sdr"]

STEPS = 33
WHITE = 203.0
"""Of diffuse white in HDR, in cd/m² (BT.2408); in SDR it is 1."""
PEAK = 1000.0
DISPLAY_GAMMA = 2.4

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_TO_709 = (
    (1.660491, -0.587641, -0.072850),
    (-0.124550, 1.132900, -0.008349),
    (-0.018151, -0.100579, 1.118730),
)
_LUMA_2020 = (0.2627, 0.6780, 0.0593)


def pq_light(code: float) -> float:
    """cd/m² of a PQ code of 0 to 1."""
    root = code ** (1 / _M2)
    return 10_000.0 * float((max(root - _C1, 0.0) / (_C2 - _C3 * root)) ** (1 / _M1))


def pq_code(light: float) -> float:
    root = (light / 10_000.0) ** _M1
    return float(((_C1 + _C2 * root) / (1 + _C3 * root)) ** _M2)


def rolled_off(light: float) -> float:
    """cd/m² of 0 to PEAK, and above, into 0 to WHITE: the curve of BT.2390."""
    most = pq_code(WHITE) / pq_code(PEAK)
    knee = 1.5 * most - 0.5
    code = min(1.0, pq_code(light) / pq_code(PEAK))
    if code > knee:
        t = (code - knee) / (1 - knee)
        code = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_light(code * pq_code(PEAK))


def hlg_scene(code: float) -> float:
    """Light of the scene, 0 to 1, of an HLG code."""
    if code <= 0.5:
        return code * code / 3
    return float((2.718281828459045 ** ((code - _HLG_C) / _HLG_A) + _HLG_B) / 12)


@functools.cache
def cube(curve: Curve) -> str:
    """The table in the form of a .cube file: red runs fastest."""
    lines = [f"LUT_3D_SIZE {STEPS}"]
    lines.extend(f"{red:.5f} {green:.5f} {blue:.5f}" for red, green, blue in _colours(curve))
    return "\n".join(lines) + "\n"


def _colours(curve: Curve) -> Iterator[tuple[float, float, float]]:
    codes = [step / (STEPS - 1) for step in range(STEPS)]
    axis = [_light(curve, code) for code in codes]
    factors: dict[float, float] = {}
    for blue, green, red in product(axis, axis, axis):
        if curve == "hlg":
            luma = _LUMA_2020[0] * red + _LUMA_2020[1] * green + _LUMA_2020[2] * blue
            factor = PEAK * luma**0.2 if luma else 0.0
            red, green, blue = red * factor, green * factor, blue * factor  # noqa: PLW2901 - light of the display
        brightest = max(red, green, blue)
        factor = 1.0
        if curve != "sdr" and brightest:
            factor = factors.get(brightest) or rolled_off(brightest) / brightest / WHITE
            factors[brightest] = factor
        yield (
            _shown(_TO_709[0], red, green, blue, factor),
            _shown(_TO_709[1], red, green, blue, factor),
            _shown(_TO_709[2], red, green, blue, factor),
        )


def _light(curve: Curve, code: float) -> float:
    if curve == "pq":
        return pq_light(code)
    return hlg_scene(code) if curve == "hlg" else float(code**DISPLAY_GAMMA)


def _shown(row: tuple[float, float, float], red: float, green: float, blue: float, factor: float) -> float:
    light = (row[0] * red + row[1] * green + row[2] * blue) * factor
    return float(min(1.0, max(0.0, light)) ** (1 / DISPLAY_GAMMA))
