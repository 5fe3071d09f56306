"""Settings: what is read, what is refused and in which words."""

import re
from decimal import Decimal
from pathlib import Path

import pytest

from settings import Settings, SettingsError, database_place, load_settings

URL = "postgresql://sojourn:hush-hush@db:5433/sojourn"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(("SOJOURN_", "TEMPORAL_", "DATABASE_", "SMTP_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", URL)


def test_defaults_need_only_the_database() -> None:
    settings = load_settings(None)
    assert settings.temporal_address == "localhost:7233"
    assert settings.task_queue == "sojourn"
    assert settings.timescale == 1
    assert settings.http_allow_cidrs == []
    assert settings.tls is False


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("DATABASE_URL", "", "DATABASE_URL is required"),
        ("DATABASE_URL", "mysql://u:hush-hush@h/d", "DATABASE_URL is wrong: "),
        ("SMTP_URL", "http://u:hush-hush@h", "SMTP_URL is wrong: "),
        ("SOJOURN_API_KEY", "hush-hush", "SOJOURN_API_KEY is wrong: must have at least 16"),
        ("SOJOURN_SECRET_KEYS", "k1:hush", "SOJOURN_SECRET_KEYS is wrong: the key 'k1' has 3"),
        ("SOJOURN_SECRET_KEYS", "hush-hush", "SOJOURN_SECRET_KEYS is wrong: entry 1 must be id:"),
        ("SOJOURN_PORT", "http", "SOJOURN_PORT is wrong: "),
        ("SOJOURN_TIMESCALE", "0", "SOJOURN_TIMESCALE is wrong: "),
        ("SOJOURN_HTTP_ALLOW_PORTS", "80,x", "SOJOURN_HTTP_ALLOW_PORTS is wrong: "),
    ],
)
def test_what_is_wrong_is_named_without_its_secret(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as error:
        load_settings(None)
    assert said in str(error.value)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("name", ["SOJOURN_CREDENTIALS_DIR", "CREDENTIALS_DIRECTORY"])
def test_credentials_may_be_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("SMTP_URL", "smtp://environment:25")
    monkeypatch.setenv("SOJOURN_API_KEY", "")
    (tmp_path / "DATABASE_URL").write_text(f"{URL}\n")
    (tmp_path / "sojourn_api_key").write_text("a-key-that-is-long-enough\n")
    (tmp_path / "SMTP_URL").write_text("smtp://file:25")
    (tmp_path / "unknown").write_text("x")
    monkeypatch.setenv(name, str(tmp_path))
    settings = load_settings(None)
    assert "hush-hush@db:5433/sojourn" in settings.database_url.get_secret_value()
    assert settings.api_key is not None
    assert settings.api_key.get_secret_value() == "a-key-that-is-long-enough"
    # What the environment says counts more.
    assert "environment" in settings.smtp_url.get_secret_value()
    (tmp_path / "sojourn_api_key").write_text("hush")
    with pytest.raises(SettingsError, match="SOJOURN_API_KEY is wrong: must have") as error:
        load_settings(None)
    assert "hush" not in str(error.value)


def test_a_missing_folder_of_credentials_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SOJOURN_CREDENTIALS_DIR", str(tmp_path / "gone"))
    with pytest.raises(SettingsError, match="credentials is not there"):
        load_settings(None)


def test_all_that_is_wrong_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL")
    monkeypatch.setenv("SOJOURN_PORT", "0")
    with pytest.raises(SettingsError, match=r"(?s)DATABASE_URL.*SOJOURN_PORT"):
        load_settings(None)


def test_a_cache_too_small_for_the_tasks_at_once_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOJOURN_MAX_CACHED_WORKFLOWS", "10")
    with pytest.raises(SettingsError, match="SOJOURN_MAX_CACHED_WORKFLOWS is wrong"):
        load_settings(None)


def test_variables_set_to_nothing_are_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOJOURN_AI_OPENAI_BASE_URL", "SOJOURN_HTTP_ALLOW_CIDRS", "TEMPORAL_API_KEY"):
        monkeypatch.setenv(name, "")
    settings = load_settings(None)
    assert settings.ai_openai_base_url is None
    assert settings.http_allow_cidrs == []
    assert settings.temporal_api_key is None


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_HTTP_ALLOW_CIDRS", "10.0.0.0/8, 127.0.0.0/8")
    monkeypatch.setenv("SOJOURN_HTTP_ALLOW_PORTS", "8080,9000")
    settings = load_settings(None)
    services = settings.services(settings.database())
    assert services.http_config.allow_cidrs == ("10.0.0.0/8", "127.0.0.0/8")
    assert services.http_config.allow_ports == (8080, 9000)


async def test_a_limit_of_waiting_starts_reaches_whoever_orders_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOJOURN_MAX_QUEUED_STARTS", "7")
    async with load_settings(None).database().session() as session:
        assert session.info == {"max_queued_starts": 7}


def test_an_env_file_is_read_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / ".env"
    file.write_text("TEMPORAL_ADDRESS=file:1\nSOJOURN_TASK_QUEUE=file\nSOMEBODY_ELSES=x\n")
    monkeypatch.setenv("SOJOURN_TASK_QUEUE", "environment")
    settings = load_settings(file)
    assert (settings.temporal_address, settings.task_queue) == ("file:1", "environment")


def test_secrets_are_not_in_the_representation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOJOURN_API_KEY", "hush-hush-hush-hush")
    monkeypatch.setenv("SMTP_URL", "smtp://u:hush-hush@mail:25")
    assert "hush" not in repr(load_settings(None))
    assert database_place(URL) == "db:5433/sojourn"


def test_a_client_certificate_makes_tls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from temporalio.client import TLSConfig

    for name in ("CERT", "KEY"):
        (tmp_path / name).write_text(name)
        monkeypatch.setenv(f"TEMPORAL_TLS_{name}", str(tmp_path / name))
    assert load_settings(None).tls == TLSConfig(client_cert=b"CERT", client_private_key=b"KEY")


def test_settings_that_actions_name_in_their_errors_exist() -> None:
    root = Path(__file__).parents[2] / "activities"
    named: set[str] = set()
    for source in root.glob("*.py"):
        for found in re.findall(r"SOJOURN_[A-Z_]*(?:\{[^}]+\}[A-Z_]*)?", source.read_text()):
            filled = [re.sub(r"\{[^}]+\}", provider, found) for provider in ("OPENAI", "ANTHROPIC")]
            named.update(filled)
    assert {"SOJOURN_AI_OPENAI_API_KEY", "SOJOURN_AI_ANTHROPIC_BASE_URL"} <= named
    known = {f"SOJOURN_{name.upper()}" for name in Settings.model_fields}
    assert named <= known


def test_how_mail_leaves_over_the_configured_server(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(None).mail_policy.model_dump(exclude_defaults=True) == {}
    monkeypatch.setenv("SOJOURN_MAIL_RATE_PER_MINUTE", "50")
    monkeypatch.setenv("SOJOURN_MAIL_PER_LEAD", "3/1w2d")
    monkeypatch.setenv("SOJOURN_MAIL_TRACKING", "clicks, opens")
    found = load_settings(None).mail_policy
    assert found.rate_per_minute == 50
    assert found.per_lead is not None
    assert (found.per_lead.count, found.per_lead.per.days) == (3, 9)
    assert (found.tracking.opens, found.tracking.clicks) == (True, True)


@pytest.mark.parametrize("wrong", ["3", "0/7d", "3/", "3/soon"])
def test_a_cap_on_mails_that_is_none(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("SOJOURN_MAIL_PER_LEAD", wrong)
    with pytest.raises(SettingsError, match="SOJOURN_MAIL_PER_LEAD is wrong"):
        load_settings(None)


def test_ai_is_kept_as_the_settings_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from db.engine import Database

    for name, value in {
        "SOJOURN_AI_PRICES": '{"openai:llama3": [0, 1.5]}',
        "SOJOURN_AI_ALLOW_PORTS": "11434, 8080",
        "SOJOURN_AI_BUDGET_DAILY": "2.50",
        "SOJOURN_AI_BREAKER_OPEN": "7",
        "SOJOURN_AI_KEEP": "redacted",
    }.items():
        monkeypatch.setenv(name, value)
    services = load_settings(None).services(Database(URL))
    assert services.ai.prices == {"openai:llama3": (Decimal(0), Decimal("1.5"))}
    assert services.ai.allow_ports == (11434, 8080)
    assert services.ai.daily.usd == Decimal("2.50")
    assert services.ai.breaker.open_for.total_seconds() == 7
    assert services.ai_keep.value == "redacted"
    monkeypatch.setenv("SOJOURN_AI_PRICES", '{"openai:llama3": [-1, 1.5]}')
    with pytest.raises(SettingsError, match="SOJOURN_AI_PRICES"):
        load_settings(None)
