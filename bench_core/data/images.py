"""An image file as bytes of colour: decoded, resized and cropped by Pillow."""

from __future__ import annotations

import functools
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from bench_core.data.errors import DataError
from bench_core.errors import CorruptFileError
from bench_core.optional import require

_UNREADABLE: Final = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""What Pillow raises for damaged files, depending on their format."""
_LONGEST_REASON: Final = 200


@dataclass(frozen=True)
class Crop:
    """The shorter side is brought to ``resize`` pixels, then ``size`` x ``size`` cut out centrally.

    As published (Strassenburg et al., "Alsatian", SIGMOD 2025, section 5): 256 and 224.
    """

    resize: int = 256
    size: int = 224

    def __post_init__(self) -> None:
        if not 1 <= self.size <= self.resize:
            raise DataError(
                f"images cropped to {self.size} pixels of {self.resize}, expected at least 1 and "
                "no more than the resized image has"
            )


def decode(path: Path, crop: Crop) -> npt.NDArray[np.uint8]:
    """Return an image file's ``(3, size, size)`` pixels; grey, alpha and CMYK images become RGB.

    Raises:
        CorruptFileError: the file cannot be read or decoded.
        MissingExtraError: Pillow is not installed.
    """
    image = require("PIL.Image", "search")
    try:
        with image.open(path) as file:
            resized = _as_rgb(file, image).resize(
                _resized(file.width, file.height, crop.resize), image.Resampling.BILINEAR
            )
    except (*_UNREADABLE, image.DecompressionBombError) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON] or type(error).__name__
        raise CorruptFileError(
            f"{path}: no image that can be decoded ({reason}); replace or remove it"
        ) from error
    left = round((resized.width - crop.size) / 2)
    top = round((resized.height - crop.size) / 2)
    cropped = resized.crop((left, top, left + crop.size, top + crop.size))
    pixels: npt.NDArray[np.uint8] = np.asarray(cropped).transpose(2, 0, 1)
    return pixels


@functools.cache
def decoder_version() -> str:
    """Return the versions of what decodes and resizes: other versions may give other bits."""
    pillow, features = require("PIL", "search"), require("PIL.features", "search")
    jpeg = features.version("libjpeg_turbo") or features.version("jpg")
    return f"pillow {pillow.__version__}, jpeg {jpeg}"


def _as_rgb(file: Any, image: Any) -> Any:
    if file.mode.startswith("I"):
        # 16 bits a pixel, which `convert` would cut off at 255.
        return image.fromarray((np.asarray(file) >> 8).astype(np.uint8)).convert("RGB")
    if file.mode == "P" and "transparency" in file.info:
        return file.convert("RGBA").convert("RGB")
    return file.convert("RGB")


def _resized(width: int, height: int, shorter: int) -> tuple[int, int]:
    """Return width and height after the shorter side was brought to ``shorter``."""
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter
