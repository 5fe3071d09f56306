"""An HTTP server that takes effects, knows their keys, and has each only once."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.servers.wire import Received, WireAnswers, respond


@dataclass
class EffectSink(WireAnswers):
    """Takes JSON posts with an `Idempotency-Key`; use it as `async with EffectSink() as sink`.

    A key that came before gets the answer that it got. `raw` counts requests by key, `effects`
    holds what each key asked for, `open` are the keys that wait for their answer; `delay` is in
    seconds. `clashes` are keys that came again with another body.
    """

    delay: float = 0.1
    raw: Counter[str] = field(default_factory=Counter)
    effects: dict[str, Any] = field(default_factory=dict)
    open: Counter[str] = field(default_factory=Counter)
    clashes: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Where it takes posts."""
        return f"{self._wire.url}/effects"

    @property
    def repeats(self) -> int:
        """How many requests came again under a key."""
        return self.raw.total() - len(self.raw)

    async def answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
        key = request.headers["idempotency-key"]
        asked = json.loads(request.body)
        self.raw[key] += 1
        if self.effects.setdefault(key, asked) != asked:
            self.clashes.append(key)
        self.open[key] += 1
        try:
            await asyncio.sleep(self.delay)
        finally:
            self.open[key] -= 1
            if not self.open[key]:
                del self.open[key]
        body = json.dumps({"points": asked["points"]}).encode()
        respond(writer, 200, body, {"content-type": "application/json"})
