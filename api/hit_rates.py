"""How often one id may be recorded: a mail's reader cannot fill a table."""

from collections import OrderedDict
from time import monotonic


class HitRate:
    """A token bucket (RFC 2697) for each id, in this process: `burst` at once, then one in `every`.

    `every` is in seconds. The ids that were seen last are kept, `size` of them: one that is
    forgotten begins anew.
    """

    def __init__(self, *, burst: int = 30, every: float = 10.0, size: int = 10_000) -> None:
        """Begin without any id."""
        self._burst, self._every, self._size = burst, every, size
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def take(self, identity: str) -> bool:
        """Take one of an id's tokens; False where there is none."""
        moment = monotonic()
        full_at = max(self._full_at.pop(identity, moment), moment)
        allowed = full_at - moment <= (self._burst - 1) * self._every
        self._full_at[identity] = full_at + self._every if allowed else full_at
        if len(self._full_at) > self._size:
            self._full_at.popitem(last=False)
        return allowed
