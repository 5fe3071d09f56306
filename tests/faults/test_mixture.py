"""Two workers killed at random while runs of seven shapes are under way."""

import logging
import random
import time
from collections import Counter

import pytest

from tests.faults.evidence import figures
from tests.faults.killer import Killer
from tests.faults.mixture import MAIL, ONCE, Mixture
from tests.faults.stand import Stand
from tests.servers.ai_server import AiServer
from tests.servers.effect_sink import EffectSink

_log = logging.getLogger("sojourn.faults")
_PER_KILL = 1.5


async def test_runs_of_seven_shapes_survive_kills(stand: Stand, seed: int, long: bool) -> None:
    if not long:
        pytest.skip("the short form is in test_worker_kills.py")
    runs, kills, deadline = 1000, 30, 600.0
    async with EffectSink() as sink, AiServer(text="warm", delay=0.1) as ai:
        mixture = Mixture(stand, sink, ai)
        await mixture.publish()
        began = time.monotonic()
        async with Killer(stand, mixture, random.Random(seed)) as killer:
            for number in range(kills):
                await mixture.start(runs * (number + 1) // kills - len(mixture.started))
                await killer.kill()
            await mixture.ended(deadline)
        took = time.monotonic() - began
        await mixture.check()
        # The control: the same effect under another key, as without keys, is found.
        sink.effects["none"] = next(iter(sink.effects.values()))
        with pytest.raises(AssertionError, match="too many"):
            await mixture.check()

    sent = [one for one in stand.smtp.deliveries if one.to.startswith(MAIL.name)]
    mails = Counter(one.message_id for one in sent)
    wanted = sum(shape.name == MAIL.name for shape, _ in mixture.started.values())
    assert len({one.to for one in sent}) == len(mails) == wanted
    once = Counter(one.to for one in stand.smtp.deliveries if one.to.startswith(ONCE.name))
    asked_once = sum(shape.name == ONCE.name for shape, _ in mixture.started.values())
    assert set(once.values()) <= {1}, f"mails at most once came again: {once}"
    assert asked_once - len(once) <= _PER_KILL * kills
    twice = mails.total() - wanted
    asked = Counter(str(sent["messages"]) for _, sent in ai.calls)
    paid_again = asked.total() - len(asked)
    met = sum(kill.open_runs > 0 for kill in killer.kills)
    cut = sum(len(kill.cut) for kill in killer.kills)
    assert met >= 0.8 * kills
    assert cut > 0, "no kill fell inside a call"
    assert twice <= _PER_KILL * kills
    assert paid_again <= _PER_KILL * kills
    said = {
        "runs": runs,
        "lost": 0,
        "kills": kills,
        "kills_that_met_open_runs": met,
        "calls_cut_off": cut,
        "posts": len(sink.raw),
        "effects_per_key": 1,
        "posts_repeated_raw": sink.repeats,
        "mails": wanted,
        "mails_repeated": twice,
        "mails_at_most_once": asked_once,
        "of_these_twice": 0,
        "of_these_never_taken": asked_once - len(once),
        "model_calls_paid_again": paid_again,
        "seconds": round(took, 1),
        "seed": seed,
    }
    figures("T1 workers killed", **said)
    _log.warning("%s", said)
