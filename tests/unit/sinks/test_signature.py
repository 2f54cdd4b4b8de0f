"""Standard Webhooks from the sender's side, held against the reference library."""

from __future__ import annotations

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from tidemill.errors import SettingsError
from tidemill.sinks.signature import SigningKey, message_id, sign, sign_all, signing_key

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@given(st.text(), st.binary(min_size=1, max_size=64))
def test_signature_is_what_the_reference_library_verifies(body: str, key: bytes) -> None:
    secret = f"whsec_{base64.b64encode(key).decode()}"
    now = int(time.time())

    signature = sign(signing_key(secret), message_id="msg_1", at_seconds=now, body=body.encode())

    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": signature}
    Webhook(secret).verify(body.encode(), headers, json_parse=False)


def test_signature_covers_bytes_that_are_no_text() -> None:
    key = signing_key(SECRET)

    one, other = (
        sign(key, message_id="msg_1", at_seconds=1, body=body) for body in (b"\xff\x00", b"\xff\x01")
    )

    assert one.startswith("v1,")
    assert one != other


@pytest.mark.parametrize(
    "secret",
    [SECRET, SECRET.removeprefix("whsec_"), base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    ids=["prefixed", "bare", "bytes"],
)
def test_signing_key_takes_every_form_of_a_secret(secret: str | bytes) -> None:
    assert signing_key(secret) == base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")


def test_signing_key_takes_base64_without_padding() -> None:
    assert signing_key("whsec_" + base64.b64encode(b"four").decode().rstrip("=")) == b"four"


@pytest.mark.parametrize("secret", ["whsec_", "", b"", "whsec_not-base64!", "hunter2 hunter2", "whsec_a"])
def test_signing_key_refuses_what_is_no_secret_without_showing_it(secret: str | bytes) -> None:
    with pytest.raises(SettingsError) as caught:
        signing_key(secret)

    assert "hunter2" not in str(caught.value)
    assert "not-base64" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_message_id_is_constant_for_an_event() -> None:
    assert message_id("/orders", "42") == "msg_ydrqvg7f36hx2kvqsckwizqmpkibzbk7"


@given(
    st.tuples(st.text(min_size=1), st.text(min_size=1)), st.tuples(st.text(min_size=1), st.text(min_size=1))
)
def test_message_ids_differ_where_identities_do(one: tuple[str, str], other: tuple[str, str]) -> None:
    joined = {"\0".join(one), "\0".join(other)}

    assert (message_id(*one) == message_id(*other)) == (len(joined) == 1)
    assert "." not in message_id(*one)


def test_every_secret_of_a_rotation_signs_until_its_time_is_over() -> None:
    old, new = "whsec_b2xkIHNlY3JldA==", "whsec_bmV3IHNlY3JldA=="
    at_us = int(time.time()) * 1_000_000
    keys = [SigningKey(signing_key(new)), SigningKey(signing_key(old), until=at_us + 1)]

    during = sign_all(keys, message_id="msg_1", at_us=at_us, body=b"{}")
    after = sign_all(keys, message_id="msg_1", at_us=at_us + 1, body=b"{}")

    assert during is not None
    assert after == during.split(" ")[0]
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(at_us // 1_000_000),
        "webhook-signature": during,
    }
    for secret in (old, new):
        Webhook(secret).verify(b"{}", headers, json_parse=False)


def test_without_a_secret_there_is_no_signature_and_keys_are_not_shown() -> None:
    assert sign_all([], message_id="msg_1", at_us=0, body=b"") is None
    assert "canary" not in repr(SigningKey(b"canary"))
