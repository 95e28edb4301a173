"""Other sizes of a picture, exact to half a step of colour where it is translucent.

Invariant: a pixel counts as much as it covers, and nothing is rounded down on the way. libvips' thumbnails weigh the
colours of translucent pixels in whole numbers, cut off what is over, and so make them darker, most of all faint ones.
"""

import pyvips

from services.media.pictures.geometry import Size


def resized(image: pyvips.Image, size: Size) -> pyvips.Image:
    if (image.width, image.height) == size:
        return image
    if image.hasalpha():
        return scaled(image, size)
    return image.thumbnail_image(size.width, height=size.height, size="force")


def scaled(image: pyvips.Image, size: Size) -> pyvips.Image:
    """One that has transparency, in its own format and colours, and not turned."""
    if (image.width, image.height) == size:
        return image
    across, down = size.width / image.width, size.height / image.height
    resized = image.premultiply().resize(across, vscale=down).unpremultiply()
    return resized.rint().cast(image.format).copy(interpretation=image.interpretation)


def flattened(image: pyvips.Image, backdrop: tuple[int, int, int]) -> pyvips.Image:
    """On a colour, of which as much is seen as the picture lets through."""
    return image.cast("float").flatten(background=list(backdrop)).rint().cast(image.format)
