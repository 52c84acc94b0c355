"""Where a still keeps the machine layer of what it shows: a few hundred bytes in its Exif data.

A still of a place is of many frames and of none, so no stored frame has its latent. Its maker is
the camera, and what a maker adds belongs into MakerNote (Exif 3.0, 4.6.6); image programs keep it.
"""

EXIF_IFD, MAKER_NOTE = 0x8769, 0x927C
