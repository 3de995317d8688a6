"""Pictures: masks and strokes over a frame, contact sheets. uint8 RGB in, uint8 RGB out."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np

from rhmnet.labels import BACKGROUND, UNLABELLED, davis_palette

_BACKGROUND_STROKE = (255, 255, 255)
_CAPTION_HEIGHT = 28
_GAP = 6


def overlay(
    image: np.ndarray,
    labels: np.ndarray,
    scribble: np.ndarray | None = None,
    alpha: float = 0.5,
) -> np.ndarray:
    """Lay objects over a frame in their palette colours, outlined; strokes on top.

    image: uint8 [H, W, 3] RGB; labels: uint8 [H, W], 0 background; scribble: uint8 [H, W] as
    `draw_scribble` takes it; alpha: opacity of the colours. Returns a new uint8 [H, W, 3].
    """
    colours = vivid_colours()
    inside = labels > 0
    tinted = cv2.addWeighted(image, 1 - alpha, colours[labels], alpha, 0)
    picture = np.where(inside[..., None], tinted, image)
    # A pixel lies on an outline where its neighbourhood holds another label.
    square = np.ones((3, 3), np.uint8)
    edge = inside & (cv2.dilate(labels, square) != cv2.erode(labels, square))
    picture[edge] = colours[labels[edge]]
    return picture if scribble is None else draw_scribble(picture, scribble)


def draw_scribble(image: np.ndarray, scribble: np.ndarray) -> np.ndarray:
    """Draw strokes over a frame: objects in their colour, background white, both edged in black.

    image: uint8 [H, W, 3] RGB; scribble: uint8 [H, W], 0 none, 1..O objects, 255 background.
    Returns a new picture.
    """
    picture = image.copy()
    colours = vivid_colours().copy()
    colours[BACKGROUND] = _BACKGROUND_STROKE
    strokes = cv2.dilate(scribble, np.ones((3, 3), np.uint8))
    drawn = (strokes != UNLABELLED).view(np.uint8)
    picture[cv2.dilate(drawn, np.ones((5, 5), np.uint8)) > 0] = 0
    picture[drawn > 0] = colours[strokes[drawn > 0]]
    return picture


def contact_sheet(
    pictures: Sequence[np.ndarray],
    captions: Sequence[str],
    columns: int | None = None,
    height: int = 240,
) -> np.ndarray:
    """Put pictures side by side, each `height` pixels high and under its caption.

    pictures: uint8 [H, W, 3], sizes may differ; columns: pictures a row (all in one, if None).
    Raises ValueError unless there are as many captions as pictures, and at least one.
    """
    if not pictures or len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} pictures with {len(captions)} captions")
    columns = columns or len(pictures)
    cells = [_cell(p, c, height) for p, c in zip(pictures, captions, strict=True)]
    width = max(cell.shape[1] for cell in cells)
    rows = -(-len(cells) // columns)
    step_y, step_x = height + _CAPTION_HEIGHT + _GAP, width + _GAP
    sheet = np.full((rows * step_y + _GAP, columns * step_x + _GAP, 3), 255, np.uint8)
    for index, cell in enumerate(cells):
        y, x = _GAP + index // columns * step_y, _GAP + index % columns * step_x
        sheet[y : y + cell.shape[0], x : x + cell.shape[1]] = cell
    return sheet


@functools.cache
def vivid_colours() -> np.ndarray:
    """uint8 [256, 3]: the palette's hues at full brightness, to be seen over a frame."""
    palette = davis_palette().astype(np.float32)
    peak = palette.max(axis=1, keepdims=True)
    colours = (palette * (255 / np.maximum(peak, 1))).round().astype(np.uint8)
    colours.setflags(write=False)
    return colours


def _cell(picture: np.ndarray, caption: str, height: int) -> np.ndarray:
    """A picture scaled to `height`, its caption on white above it."""
    width = max(1, round(picture.shape[1] * height / picture.shape[0]))
    shrinks = height < picture.shape[0]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, (width, height), interpolation=interpolation)
    bar = np.full((_CAPTION_HEIGHT, width, 3), 255, np.uint8)
    origin = (2, _CAPTION_HEIGHT - 9)
    cv2.putText(bar, caption, origin, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (0, 0, 0), 1, cv2.LINE_AA)
    return np.vstack([bar, scaled])


def shown_colours() -> np.ndarray:
    """uint8 [256, 3]: the palette's colours as masks and strokes are shown in.

    The first six hues at full brightness; further objects differ from them by being darker. White
    is the background's alone.
    """
    colours = davis_palette().copy()
    colours[1:7] = vivid_colours()[1:7]
    colours[BACKGROUND] = 255
    return colours
