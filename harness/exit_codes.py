"""What the commands end with: distinct, so that a script can tell slow from broken from unknown."""

from __future__ import annotations

from typing import Final

FINE: Final = 0
SLOWER: Final = 1
"""Something takes longer than it did."""
BAD_INPUT: Final = 2
"""A wrong file, option or section; nothing was judged."""
BROKEN: Final = 3
"""A sample failed, or a case vanished."""
CANNOT_TELL: Final = 4
"""What there is decides nothing, or cannot be relied on."""
