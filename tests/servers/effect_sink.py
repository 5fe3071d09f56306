"""An HTTP server that takes effects, knows their keys, and has each only once."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tests.servers.wire import Received, WireServer, respond


@dataclass
class EffectSink:
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

    async def __aenter__(self) -> Self:
        self._wire = await WireServer(self._answer).__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._wire.__aexit__(kind, error, trace)

    @property
    def url(self) -> str:
        """Where it takes posts."""
        return f"{self._wire.url}/effects"

    @property
    def port(self) -> int:
        """Its port on loopback."""
        return self._wire.port

    @property
    def repeats(self) -> int:
        """How many requests came again under a key."""
        return self.raw.total() - len(self.raw)

    async def _answer(self, request: Received, writer: asyncio.StreamWriter) -> None:
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
