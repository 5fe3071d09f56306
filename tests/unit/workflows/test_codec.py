"""Sealed payloads: who opens them, who does not, and what is never on the wire."""

import zlib

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import (
    ActivitySerializationContext,
    DataConverter,
    NexusSerializationContext,
    WorkflowSerializationContext,
)
from temporalio.exceptions import ApplicationError

from schemas.keyring import KEY_BYTES, KeyRing
from workflows import codec as module
from workflows.codec import (
    COMPRESSED_FROM,
    REFUSED,
    SEALED,
    PayloadEncryption,
    PayloadRefusedError,
    SealingCodec,
    binding,
)
from workflows.opening import workspace_of
from workflows.setup import DATA_CONVERTER, converter_with

OLD, NEW = b"o" * KEY_BYTES, b"n" * KEY_BYTES
RUN = "default/flow/018f0000-0000-7000-8000-000000000001"
SECRET = "ada@example.com"


def codec(mode: PayloadEncryption = PayloadEncryption.REQUIRED, **keys: bytes) -> SealingCodec:
    return SealingCodec(KeyRing(keys or {"old": OLD}), mode)


def of(sealing: SealingCodec, workflow_id: str = RUN, namespace: str = "default") -> DataConverter:
    context = WorkflowSerializationContext(namespace=namespace, workflow_id=workflow_id)
    return converter_with(sealing).with_context(context)


async def sealed(value: object, sealing: SealingCodec | None = None) -> Payload:
    (payload,) = await of(sealing or codec()).encode([value])
    return payload


async def test_what_is_sealed_opens_in_its_workflow_alone() -> None:
    payload = await sealed({"email": SECRET})
    assert payload.metadata["encoding"] == SEALED
    assert SECRET.encode() not in payload.SerializeToString()
    assert await of(codec()).decode([payload]) == [{"email": SECRET}]
    for workflow_id, namespace in ((f"{RUN}x", "default"), (RUN, "other")):
        with pytest.raises(PayloadRefusedError, match="another workflow"):
            await of(codec(), workflow_id, namespace).decode([payload])


async def test_the_name_in_the_metadata_opens_nothing() -> None:
    payload = await sealed(1)
    payload.metadata["workflow"] = b"default/flow/other"
    # Bound to what the reader speaks of, whatever is written in the clear.
    assert await of(codec()).decode([payload]) == [1]
    with pytest.raises(PayloadRefusedError, match="another workflow"):
        await of(codec(), "default/flow/other").decode([payload])


@pytest.mark.parametrize("place", [0, 11, 12, -1])
async def test_an_altered_byte_is_noticed(place: int) -> None:
    payload = await sealed("x" * 100)
    data = bytearray(payload.data)
    data[place] ^= 1
    payload.data = bytes(data)
    with pytest.raises(PayloadRefusedError, match="altered"):
        await of(codec()).decode([payload])


async def test_an_activity_reads_what_its_workflow_wrote() -> None:
    context = ActivitySerializationContext(
        namespace="default",
        activity_id="send",
        activity_type="email",
        activity_task_queue="sojourn",
        workflow_id=RUN,
        workflow_type="flow",
        is_local=True,
    )
    converter = converter_with(codec()).with_context(context)
    assert await converter.decode([await sealed([1, 2])]) == [[1, 2]]


async def test_what_has_no_workflow_is_neither_sealed_nor_opened() -> None:
    nexus = NexusSerializationContext(endpoint="e", service="s", operation="o")
    for converter in (converter_with(codec()), converter_with(codec()).with_context(nexus)):
        with pytest.raises(PayloadRefusedError, match="no workflow"):
            await converter.encode([1])
        with pytest.raises(PayloadRefusedError, match="without the workflow"):
            await converter.decode([await sealed(1)])


async def test_a_schedule_and_what_it_starts_share_a_binding() -> None:
    schedule = "sojourn/default/flow/trigger"
    due = f"{schedule}-2026-03-01T04:05:06Z"
    assert binding("default", schedule) == binding("default", due)
    for other in (f"{schedule}-2026", f"{RUN}-2026-03-01T04:05:06Z", f"{due}-2026-03-01T04:05:06Z"):
        assert binding("default", other) not in (binding("default", schedule), binding("d", RUN))


async def test_plaintext_is_refused_where_sealing_is_required() -> None:
    (plain,) = await DATA_CONVERTER.encode(["x"])
    with pytest.raises(PayloadRefusedError, match="not sealed"):
        await of(codec()).decode([plain])
    # As a payload it passes: only what uses it fails, so a stranger's signal stops no run.
    (refused,) = await codec().decode([plain])
    assert refused.metadata["encoding"] == REFUSED
    with pytest.raises(PayloadRefusedError, match="passed on"):
        await of(codec()).payload_codec.encode([refused])  # pyright: ignore[reportOptionalMemberAccess]


async def test_an_installation_changes_over_mode_by_mode() -> None:
    (plain,) = await DATA_CONVERTER.encode(["x"])
    off, between = codec(PayloadEncryption.OFF), codec(PayloadEncryption.ACCEPT_PLAINTEXT)
    assert (await of(off).encode(["x"]))[0] == plain
    for mode in (off, between):
        assert await of(mode).decode([plain, await sealed("y")]) == ["x", "y"]
    assert (await sealed("x", between)).metadata["encoding"] == SEALED


async def test_keys_rotate() -> None:
    before = await sealed("x", codec(old=OLD))
    both = codec(new=NEW, old=OLD)
    after = await sealed("x", both)
    assert (before.metadata["key"], after.metadata["key"]) == (b"old", b"new")
    assert await of(both).decode([before, after]) == ["x", "x"]
    with pytest.raises(PayloadRefusedError, match="not in the ring"):
        await of(codec(new=NEW)).decode([before])
    with pytest.raises(PayloadRefusedError, match="key has changed"):
        await of(codec(old=NEW)).decode([before])


async def test_nonces_never_repeat() -> None:
    payloads = [await sealed(1) for _ in range(1000)]
    assert len({payload.data[:12] for payload in payloads}) == 1000


async def test_failures_hide_their_message_and_trace() -> None:
    failure = Failure()
    try:
        raise ApplicationError(f"no mail to {SECRET}", {"to": SECRET}) from ValueError(SECRET)
    except ApplicationError as error:
        await of(codec()).encode_failure(error, failure)
    assert SECRET.encode() not in failure.SerializeToString()
    assert b"test_codec" not in failure.SerializeToString()
    opened = await of(codec()).decode_failure(failure)
    assert isinstance(opened, ApplicationError)
    assert (opened.message, opened.details) == (f"no mail to {SECRET}", ({"to": SECRET},))
    assert SECRET in str(opened.__cause__)
    # What was received and is raised again, as a child's failure is, is sealed again.
    again = Failure()
    await of(codec(), "default/flow/parent").encode_failure(opened, again)
    assert SECRET.encode() not in again.SerializeToString()


async def test_large_payloads_are_compressed_first() -> None:
    small, large = await sealed("x" * 1000), await sealed("x" * 100_000)
    assert len(small.data) > 1000
    assert len(large.data) < 2000
    assert await of(codec()).decode([large]) == ["x" * 100_000]
    noise = "".join(chr(33 + (7919 * i * i) % 94) for i in range(COMPRESSED_FROM))
    assert await of(codec()).decode([await sealed(noise)]) == [noise]


async def test_a_bomb_is_not_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = b"\x01" + zlib.compress(b"\0" * (module.MAX_INFLATED + 1))
    monkeypatch.setattr(module, "_packed", lambda _: bomb)
    payload = await sealed(1)
    with pytest.raises(PayloadRefusedError, match="when inflated"):
        await of(codec()).decode([payload])


@pytest.mark.parametrize("packed", [b"", b"\x07x", b"\x00\xff\xff", b"\x01nozlib"])
async def test_content_of_another_form_is_refused(
    packed: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_packed", lambda _: packed)
    payload = await sealed(1)
    with pytest.raises(PayloadRefusedError):
        await of(codec()).decode([payload])


@pytest.mark.parametrize(
    ("workflow_id", "workspace"),
    [
        (RUN, "default"),
        ("sojourn/acme/flow/trigger-2026-03-01T04:05:06Z", "acme"),
        ("sojourn/acme/retention-2026-03-01T04:05:06Z", "acme"),
        ("sojourn-bulk/acme/018f0000-0000-7000-8000-000000000001", "acme"),
        ("sojourn/flow/018f0000-0000-7000-8000-000000000001", "sojourn"),
        ("somebody-elses", None),
        ("a/b/c", None),
    ],
)
def test_whose_a_workflow_is(workflow_id: str, workspace: str | None) -> None:
    assert workspace_of(workflow_id) == workspace
