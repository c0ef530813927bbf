"""How far tests go that could go on for ever: those of random calls, of stress, and the soak.

Who types `make test` waits for it, CI is to find what is rare: each such test says here how much is
worth while for the one and for the other.  What takes long all the same is marked `long`, and is
left out by `make test` where it is neither CI nor `ALL=1`.
"""

import os

CI = os.environ.get("CI") == "true"
"""Whether it is CI that runs the tests, or somebody who wants what CI has: `CI=true make test`."""

THOROUGH = CI and os.environ.get("SCULLVFS_ROUNDS") != "quick"
"""Whether what is rare is to be found; not where CI has other libraries for what it has tried."""


def rounds(thorough: int, quick: int) -> int:
    """How many examples, steps or seconds: *thorough* in CI, *quick* elsewhere."""
    return thorough if THOROUGH else quick
