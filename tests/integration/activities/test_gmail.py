"""Mail over Gmail's API, played by a loopback server that speaks its protocol."""

import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_bytes, policy
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import crypt, jwt
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from activities.context import ActionContext
from activities.email import EmailParams, EmailResult, email
from activities.errors import ActionError
from activities.mail_provider import MailProviders
from activities.vault import Connection
from db import connections
from db.leads import Lead
from dev.ports import any_port
from schemas.connections import OtherMailConnection
from tests.integration.activities.conftest import Step
from tests.kit.mailing import KEYRING

if TYPE_CHECKING:
    from db.engine import Database

SEND = "/upload/gmail/v1/users/me/messages/send"


class Google:
    """Gives tokens, takes mails; `answers` are given to sends before any is taken."""

    def __init__(self, server: HTTPServer) -> None:
        self.url = server.url_for("").rstrip("/")
        self.grants: list[dict[str, str]] = []
        self.mails: list[bytes] = []
        self.answers: list[Response] = []
        self.token_answer: Response | None = None
        self.expires_in = 3600
        server.expect_request("/token", method="POST").respond_with_handler(self._token)
        server.expect_request(SEND, method="POST").respond_with_handler(self._send)

    def _token(self, request: Request) -> Response:
        if self.token_answer is not None:
            return self.token_answer
        self.grants.append(request.form.to_dict())
        token = f"token-{len(self.grants)}"
        body = {"access_token": token, "expires_in": self.expires_in, "token_type": "Bearer"}
        return Response(json.dumps(body), content_type="application/json")

    def _send(self, request: Request) -> Response:
        if self.answers:
            return self.answers.pop(0)
        assert request.headers["Authorization"] == f"Bearer token-{len(self.grants)}"
        assert request.headers["Content-Type"] == "message/rfc822"
        assert request.args["uploadType"] == "media"
        self.mails.append(request.get_data())
        return Response(json.dumps({"id": f"g{len(self.mails)}"}), content_type="application/json")


@pytest.fixture
def google(httpserver: HTTPServer) -> Iterator[Google]:
    found = Google(httpserver)
    yield found
    httpserver.check()
    httpserver.clear()


def refusal(status: int, reason: str = "x", **headers: str) -> Response:
    body = {"error": {"code": status, "message": "no", "errors": [{"reason": reason}]}}
    return Response(json.dumps(body), status, headers, content_type="application/json")


async def connect(
    database: "Database", google: Google, secrets: dict[str, str] | None = None, **config: Any
) -> str:
    name = f"gmail-{uuid4().hex[:8]}"
    known = {
        "auth": "oauth",
        "user": "desk@news.example",
        "client_id": "client",
        "token_url": f"{google.url}/token",
        "api_url": google.url,
    }
    async with database.session() as session:
        await connections.put(
            session,
            "default",
            name,
            kind="gmail",
            config=known | config,
            secrets=secrets or {"client_secret": "hush-hush", "refresh_token": "refresh-1"},
            keyring=KEYRING,
        )
    return name


async def send(context: ActionContext, connection: str, **given: Any) -> EmailResult:
    mail = {"to": "ada@example.com", "subject": "Hello", "text": "Hi", "connection": connection}
    return await email(EmailParams.model_validate(mail | given), context)


async def test_a_mail_by_a_refresh_token(
    step: Step, ada: Lead, google: Google, database: "Database"
) -> None:
    name = await connect(database, google)
    result = await send(
        step(ada), name, cc="bob@example.com", bcc=["eve@example.com"], html="<p>Hi ✓</p>"
    )
    assert google.grants == [
        {
            "grant_type": "refresh_token",
            "client_id": "client",
            "client_secret": "hush-hush",
            "refresh_token": "refresh-1",
        }
    ]
    message = message_from_bytes(google.mails[0], policy=policy.default)
    assert message["from"] == "desk@news.example"
    assert message["bcc"] == "eve@example.com"
    assert message["message-id"] == result.message_id
    assert result.accepted == ["ada@example.com", "bob@example.com", "eve@example.com"]
    assert result.recorded is True


async def test_a_token_is_kept_until_shortly_before_its_end(
    step: Step, google: Google, database: "Database"
) -> None:
    name = await connect(database, google)
    for _ in range(3):
        await send(step(), name)
    assert len(google.grants) == 1
    google.expires_in = 30
    other = await connect(database, google)
    for _ in range(2):
        await send(step(), other)
    assert len(google.grants) == 3
    assert len(google.mails) == 5


async def test_a_token_that_is_refused_is_renewed_once(
    step: Step, google: Google, database: "Database"
) -> None:
    name = await connect(database, google)
    google.answers = [refusal(401)]
    await send(step(), name)
    assert len(google.grants) == 2
    google.answers = [refusal(401), refusal(401)]
    with pytest.raises(ActionError) as caught:
        await send(step(), name)
    assert (caught.value.code, caught.value.retryable) == ("UNAUTHORIZED", False)


@pytest.mark.parametrize(
    ("answer", "code", "retryable", "wait"),
    [
        (refusal(429, **{"Retry-After": "7"}), "RATE_LIMITED", True, 7.0),
        (refusal(403, "userRateLimitExceeded"), "RATE_LIMITED", True, None),
        (refusal(403, "insufficientPermissions"), "UNAUTHORIZED", False, None),
        (refusal(400, "invalidArgument"), "EMAIL_REJECTED", False, None),
        (refusal(503), "EMAIL_REJECTED", True, None),
    ],
)
async def test_refusals(
    step: Step,
    google: Google,
    database: "Database",
    answer: Response,
    code: str,
    retryable: bool,
    wait: float | None,
) -> None:
    google.answers = [answer]
    with pytest.raises(ActionError) as caught:
        await send(step(), await connect(database, google))
    error = caught.value
    assert (error.code, error.retryable, error.retry_after) == (code, retryable, wait)


@pytest.mark.parametrize(("status", "retryable"), [(400, False), (503, True)])
async def test_no_token(
    step: Step, google: Google, database: "Database", status: int, retryable: bool
) -> None:
    google.token_answer = Response('{"error": "invalid_grant"}', status)
    with pytest.raises(ActionError, match=f"{status} invalid_grant") as caught:
        await send(step(), await connect(database, google))
    assert (caught.value.code, caught.value.retryable) == ("UNAUTHORIZED", retryable)
    assert "hush" not in str(caught.value.details) + caught.value.message


async def test_a_service_account_acts_for_the_user(
    step: Step, google: Google, database: "Database"
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    account = {"client_email": "robot@project.example", "private_key": private}
    account |= {"private_key_id": "k1", "type": "service_account"}
    secrets = {"service_account": json.dumps(account)}
    name = await connect(database, google, secrets, auth="service_account")
    await send(step(), name)
    (grant,) = google.grants
    assert grant["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    head, body, signature = grant["assertion"].split(".")
    verifier = crypt.RSAVerifier.from_string(public)
    assert verifier.verify(f"{head}.{body}".encode(), base64.urlsafe_b64decode(signature + "=="))
    claims = jwt.decode(grant["assertion"], verify=False)
    assert (claims["iss"], claims["sub"]) == ("robot@project.example", "desk@news.example")
    assert claims["aud"] == f"{google.url}/token"
    assert claims["scope"] == "https://www.googleapis.com/auth/gmail.send"
    assert claims["exp"] - claims["iat"] == 3600


@pytest.mark.parametrize("key", ["no json", '{"client_email": "a@b.example"}', "[12345]"])
async def test_a_key_file_that_is_none(
    step: Step, google: Google, database: "Database", key: str
) -> None:
    name = await connect(database, google, {"service_account": key}, auth="service_account")
    with pytest.raises(ActionError, match="cannot be read") as caught:
        await send(step(), name)
    assert (caught.value.code, caught.value.retryable) == ("INVALID_INPUT", False)


async def test_google_is_away(step: Step, google: Google, database: "Database") -> None:
    name = await connect(database, google, api_url=f"http://127.0.0.1:{any_port()}")
    with pytest.raises(ActionError, match="cannot be reached") as caught:
        await send(step(), name)
    assert caught.value.retryable


async def test_a_provider_that_somebody_else_has_installed(
    step: Step, database: "Database", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"pigeons_{uuid4().hex[:8]}"
    (tmp_path / f"{module}.py").write_text(
        "from activities.mail_provider import Delivery\n"
        "class Pigeons:\n"
        "    def __init__(self, connection, client):\n"
        "        self.flown = []\n"
        "    async def send(self, message, *, sender, recipients, seconds):\n"
        "        self.flown.append(message['To'])\n"
        "        return Delivery('flown', {recipients[0]: 'lost'}, 'p1')\n"
    )
    folder = tmp_path / f"{module}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[sojourn.mail_providers]\npigeon = {module}:Pigeons")
    monkeypatch.syspath_prepend(str(tmp_path))
    context = step()
    services = replace(context.services)
    assert services.mail_providers.names == ("smtp", "gmail", "pigeon")
    name = f"pigeon-{uuid4().hex[:8]}"
    given = {"provider": "pigeon", "from_address": "loft@example.com", "options": {"speed": 80}}
    connection = OtherMailConnection.model_validate({"kind": "mail", "config": given})
    config = connection.config.model_dump(mode="json")
    async with database.session() as session:
        await connections.put(
            session, "default", name, kind="mail", config=config, secrets={}, keyring=KEYRING
        )
    there = replace(context, services=services)
    result = await send(there, name, to=["ada@example.com", "bob@example.com"])
    assert result.refused == {"ada@example.com": "lost"}
    assert result.accepted == ["bob@example.com"]
    sys.modules.pop(module)


def test_providers_are_kept_while_their_connection_is_the_same() -> None:
    from activities._client import guarded_client
    from activities._ssrf import TargetPolicy

    providers = MailProviders(lambda: guarded_client(TargetPolicy.of(())))
    config = {"host": "127.0.0.1"}
    first = providers.of(Connection("a", "smtp", config, {}))
    assert providers.of(Connection("a", "smtp", dict(config), {})) is first
    assert providers.of(Connection("a", "smtp", config, {"password": "other"})) is not first
    with pytest.raises(ActionError, match="no mail provider named 'owl'"):
        providers.of(Connection("a", "mail", {"provider": "owl"}, {}))
