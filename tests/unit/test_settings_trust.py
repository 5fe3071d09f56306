"""Settings of payload encryption: what is wrong is named, and never shown."""

import base64

import pytest
from pydantic import SecretStr

from settings import Settings, SettingsError, load_settings
from workflows.codec import PayloadEncryption

KEYS = "p1:" + base64.b64encode(b"k" * 32).decode()


def settings(**given: object) -> Settings:
    return load_settings(None, database_url=SecretStr("postgresql://u@localhost/db"), **given)


def test_off_without_keys() -> None:
    assert settings().payload_encryption is PayloadEncryption.OFF
    assert settings().payload_codec is None


def test_keys_alone_open_and_do_not_seal() -> None:
    codec = settings(payload_keys=SecretStr(KEYS)).payload_codec
    assert codec is not None
    assert codec.mode is PayloadEncryption.OFF


def test_sealing_needs_keys() -> None:
    with pytest.raises(SettingsError, match="needs SOJOURN_PAYLOAD_KEYS"):
        settings(payload_encryption="required")


def test_a_bad_key_is_not_shown() -> None:
    with pytest.raises(SettingsError, match="SOJOURN_PAYLOAD_KEYS") as caught:
        settings(payload_keys=SecretStr("p1:dG9vIHNob3J0"))
    assert "dG9v" not in str(caught.value)


@pytest.mark.parametrize("origin", ["https://t.example.com/", "t.example.com", "*", "null"])
def test_an_origin_is_no_address(origin: str) -> None:
    with pytest.raises(SettingsError, match="SOJOURN_TEMPORAL_UI_ORIGIN"):
        settings(temporal_ui_origin=origin)
