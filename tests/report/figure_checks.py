"""What every figure must hold to, whatever it shows: it is legible, and nothing is cut off."""

from __future__ import annotations

from unittest import mock

from matplotlib.figure import Figure
from matplotlib.text import Text


def drawn_texts(figure: Figure) -> list[Text]:
    """Return what is really drawn: axes also keep labels of ticks that are out of view."""
    found: list[Text] = []

    def record_it(text: Text, renderer: object) -> None:
        if text.get_visible() and text.get_text():
            found.append(text)

    with mock.patch.object(Text, "draw", record_it):
        figure.draw_without_rendering()
    return found


def require_legible(figure: Figure) -> None:
    """Fail if a text is smaller than 7 points or not wholly inside the figure."""
    for text in drawn_texts(figure):
        box = text.get_window_extent()
        assert text.get_fontsize() >= 7, text.get_text()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1, text.get_text()
        assert box.y0 >= -1 and box.y1 <= figure.bbox.height + 1, text.get_text()


def require_apart(figure: Figure) -> None:
    """Fail if two texts lie on each other; turned ones are only held against upright ones."""
    texts = [text for text in drawn_texts(figure) if text.get_rotation() in (0, 90)]
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for number, (one, a) in enumerate(boxes):
        for other, b in boxes[number + 1 :]:
            # Lines of text may touch: their boxes include the space for letters below the line.
            apart = a.x1 <= b.x0 + 1 or b.x1 <= a.x0 + 1 or a.y1 <= b.y0 + 4 or b.y1 <= a.y0 + 4
            assert apart, f"{one!r} lies on {other!r}"
