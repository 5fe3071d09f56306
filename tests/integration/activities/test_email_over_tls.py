"""The email action over real TLS: implicit and STARTTLS, with certificates good and bad."""

from collections.abc import AsyncIterator
from datetime import timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from activities.errors import ActionError
from activities.services import MailConfig, Services
from db.ids import new_id
from schemas.actions import StepContext
from schemas.errors import ErrorCode
from tests.servers.smtp_tls import AUTHORITY, TlsSmtp, mail_tls
from tests.servers.wire import server_tls


def trust(patch: pytest.MonkeyPatch, authority: Path) -> None:
    """Trust an authority in the way an operator does it."""
    patch.setenv("SSL_CERT_FILE", str(authority))


@pytest.fixture(params=["implicit", "starttls"])
def implicit(request: pytest.FixtureRequest) -> bool:
    return request.param == "implicit"


@pytest.fixture
async def server(implicit: bool) -> AsyncIterator[TlsSmtp]:
    async with TlsSmtp(mail_tls(), implicit) as running:
        yield running


@pytest.fixture
async def offering() -> AsyncIterator[TlsSmtp]:
    """A server with STARTTLS."""
    async with TlsSmtp(mail_tls(), implicit=False) as running:
        yield running


async def send(url: str) -> EmailResult:
    step = StepContext(workspace="default", definition="test", run_id=new_id(), path="welcome")
    mail = MailConfig.from_url(url, from_address="Sojourn <sojourn@example.com>")
    context = ActionContext(step=step, services=Services(mail=mail), timeout=timedelta(seconds=5))
    given = {"to": "ada@example.com", "subject": "Grüße", "text": "Hi ✓"}
    return await email(EmailParams.model_validate(given), context)


async def refused(server: TlsSmtp, url: str) -> ActionError:
    """The server gets no mail; gives the error."""
    with pytest.raises(ActionError) as caught:
        await send(url)
    assert server.connections == 1
    assert not server.mails
    assert f"127.0.0.1:{server.port}" in caught.value.message
    return caught.value


async def test_a_mail_goes_out_encrypted(server: TlsSmtp, monkeypatch: pytest.MonkeyPatch) -> None:
    trust(monkeypatch, AUTHORITY)
    result = await send(server.url)
    assert result.accepted == ["ada@example.com"]
    (content,) = server.mails
    assert all(server.ciphers), "the mail came in the clear"
    message = message_from_bytes(content, policy=policy.default)
    assert message["message-id"] == result.message_id
    assert message["subject"] == "Grüße"


async def test_starttls_is_used_where_the_server_offers_it(
    offering: TlsSmtp, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust(monkeypatch, AUTHORITY)
    await send(f"smtp://127.0.0.1:{offering.port}")
    assert len(offering.mails) == 1
    assert all(offering.ciphers)


async def test_a_certificate_of_an_unknown_authority_is_refused(server: TlsSmtp) -> None:
    error = await refused(server, server.url)
    assert error.code == ErrorCode.STEP_FAILED
    assert "certificate verify failed: unable to get local issuer certificate" in error.message


async def test_opportunistic_tls_does_not_fall_back_to_the_clear(offering: TlsSmtp) -> None:
    error = await refused(offering, f"smtp://127.0.0.1:{offering.port}")
    assert "certificate verify failed" in error.message


async def test_a_certificate_for_another_name_is_refused(
    monkeypatch: pytest.MonkeyPatch, implicit: bool, repository: Path
) -> None:
    trust(monkeypatch, repository / "tests" / "servers" / "tls" / "ca.pem")
    async with TlsSmtp(server_tls(), implicit) as server:
        error = await refused(server, server.url)
    assert "certificate is not valid for '127.0.0.1'" in error.message
