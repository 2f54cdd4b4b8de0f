"""Each way to sign, held to its publisher's own examples, and to what nobody signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from tidemill.errors import EventRejected
from tidemill.project.endpoint import HmacSignature, Preset, Signature
from tidemill.sources.webhooks.schemes import build_verifier

AT = 1_700_000_000
BODY = b'{"id":"evt_1","event_id":"Ev1"}'

# ── published examples ────────────────────────────────────────────────────────────────────────────────────

GITHUB = {
    "x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17",
    "x-github-delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
}
SLACK = {
    "x-slack-request-timestamp": "1531420618",
    "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
}
SLACK_BODY = (
    b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V"
    b"&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text="
    b"&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN"
    b"&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
)
STANDARD = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
#: RFC 8032, section 7.1, test 1: a key pair.
RFC8032_PRIVATE = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
RFC8032_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


@pytest.mark.parametrize(
    ("scheme", "secret", "headers", "body", "at"),
    [
        (Preset.GITHUB, "It's a Secret to Everybody", GITHUB, b"Hello, World!", 0),
        (Preset.SLACK, "8f742231b10e8888abcd99yyyzzz85a5", SLACK, SLACK_BODY, 1531420618),
        (
            Preset.STANDARD,
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            STANDARD,
            b'{"test": 2432232314}',
            1614265330,
        ),
    ],
    ids=["github", "slack", "standard"],
)
def test_verifier_takes_what_the_scheme_publishes_as_its_example(
    scheme: Preset, secret: str, headers: Mapping[str, str], body: bytes, at: int
) -> None:
    build_verifier(scheme, [secret]).verify(headers, body, now_us=at * 1_000_000)


def test_standard_key_pair_is_that_of_the_signature_schemes_own_document() -> None:
    private = Ed25519PrivateKey.from_private_bytes(RFC8032_PRIVATE)

    assert private.public_key().public_bytes_raw() == RFC8032_PUBLIC


Signer = Callable[[bytes, str, int], dict[str, str]]

# ── a signer for each scheme, written from its description ────────────────────────────────────────────────


def mac(secret: bytes, text: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.new(secret, text, getattr(hashlib, algorithm)).digest()


def sign_github(body: bytes, secret: str, at: int) -> dict[str, str]:
    return {"x-hub-signature-256": "sha256=" + mac(secret.encode(), body).hex(), "x-github-delivery": "d-1"}


def sign_gitlab(body: bytes, secret: str, at: int) -> dict[str, str]:
    return {"x-gitlab-token": secret, "idempotency-key": "d-1"}


def sign_stripe(body: bytes, secret: str, at: int) -> dict[str, str]:
    return {"stripe-signature": f"t={at},v1={mac(secret.encode(), b'%d.%b' % (at, body)).hex()},v0=00"}


def sign_slack(body: bytes, secret: str, at: int) -> dict[str, str]:
    digest = mac(secret.encode(), b"v0:%d:%b" % (at, body)).hex()
    return {"x-slack-request-timestamp": str(at), "x-slack-signature": f"v0={digest}"}


def sign_standard(body: bytes, secret: str, at: int) -> dict[str, str]:
    moment = datetime.fromtimestamp(at, UTC)
    signature = standardwebhooks.Webhook(secret).sign("d-1", moment, body.decode())
    return {"webhook-id": "d-1", "webhook-timestamp": str(at), "webhook-signature": signature}


def sign_asymmetric(body: bytes, secret: str, at: int) -> dict[str, str]:
    """`secret` is the public key; the private one is known here."""
    private = {public: key for key, public in KEY_PAIRS}[secret]
    signature = private.sign(b"d-1.%d.%b" % (at, body))
    encoded = base64.b64encode(signature).decode()
    return {"webhook-id": "d-1", "webhook-timestamp": str(at), "webhook-signature": f"v1a,{encoded}"}


def sign_hmac(body: bytes, secret: str, at: int) -> dict[str, str]:
    return {"x-shop-hmac": base64.b64encode(mac(secret.encode(), body, "sha512")).decode()}


def _pair(seed: bytes) -> tuple[Ed25519PrivateKey, str]:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    return private, "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode()


KEY_PAIRS = [_pair(RFC8032_PRIVATE), _pair(b"\x02" * 32)]
SHOP = HmacSignature(header="x-shop-hmac", algorithm="sha512", encoding="base64")
OLD, NEW = "old secret", "new secret"
WHSEC = ("whsec_b2xkIHNlY3JldA==", "whsec_bmV3IHNlY3JldA==")

SCHEMES: dict[str, tuple[Signature, Signer, tuple[str, str], str | None]] = {
    "github": (Preset.GITHUB, sign_github, (OLD, NEW), "d-1"),
    "gitlab": (Preset.GITLAB, sign_gitlab, (OLD, NEW), "d-1"),
    "gitlab-signing": (Preset.GITLAB, sign_standard, WHSEC, "d-1"),
    "stripe": (Preset.STRIPE, sign_stripe, (OLD, NEW), "evt_1"),
    "slack": (Preset.SLACK, sign_slack, (OLD, NEW), "Ev1"),
    "standard": (Preset.STANDARD, sign_standard, WHSEC, "d-1"),
    "standard-asymmetric": (
        Preset.STANDARD,
        sign_asymmetric,
        (KEY_PAIRS[0][1], KEY_PAIRS[1][1]),
        "d-1",
    ),
    "hmac": (SHOP, sign_hmac, (OLD, NEW), None),
}
#: Schemes whose signature covers the body; a token covers nothing.
COVERING = sorted(set(SCHEMES) - {"gitlab"})
TIMED = ("gitlab-signing", "slack", "standard", "standard-asymmetric", "stripe")

names = pytest.mark.parametrize("name", sorted(SCHEMES))


def refusal(
    scheme: Signature, secrets: tuple[str, ...], headers: Mapping[str, str], body: bytes, at: int = AT
) -> str | None:
    """The code of the refusal; None when the request is taken."""
    try:
        build_verifier(scheme, secrets).verify(headers, body, now_us=at * 1_000_000)
    except EventRejected as error:
        return error.code if error.status == 401 else f"{error.code} with {error.status}"
    return None


@names
def test_verifier_takes_what_any_of_its_secrets_signed_and_nothing_else(name: str) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]

    for secret in secrets:
        assert refusal(scheme, secrets, sign(BODY, secret, AT), BODY) is None
    assert refusal(scheme, secrets[:1], sign(BODY, secrets[1], AT), BODY) == "signature_invalid"


@names
def test_verifier_gives_the_senders_own_id_of_the_delivery(name: str) -> None:
    import json

    scheme, sign, secrets, delivery_id = SCHEMES[name]

    found = build_verifier(scheme, secrets).delivery_id(sign(BODY, secrets[0], AT), json.loads(BODY))

    assert found == delivery_id


@names
def test_verifier_asks_for_its_header_fields(name: str) -> None:
    scheme, _, secrets, _ = SCHEMES[name]

    assert refusal(scheme, secrets, {}, BODY) == "signature_missing"


@names
def test_verifier_refuses_every_signature_of_another_scheme(name: str) -> None:
    scheme, _, secrets, _ = SCHEMES[name]

    for other, (_, sign, theirs, _) in SCHEMES.items():
        if {name, other} == {"gitlab-signing", "standard"} or other == name:
            continue
        assert refusal(scheme, secrets, sign(BODY, theirs[0], AT), BODY) is not None, other


@pytest.mark.parametrize(("seconds", "is_taken"), [(-301, False), (-300, True), (300, True), (301, False)])
@pytest.mark.parametrize("name", TIMED)
def test_verifier_takes_five_minutes_around_now(name: str, seconds: int, is_taken: bool) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]

    found = refusal(scheme, secrets, sign(BODY, secrets[0], AT + seconds), BODY)

    assert found == (None if is_taken else "timestamp_out_of_window")


@pytest.mark.parametrize("name", TIMED)
def test_verifier_refuses_another_timestamp_than_the_signed_one(name: str) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]
    headers = {
        field: value.replace(str(AT), str(AT + 1)) for field, value in sign(BODY, secrets[0], AT).items()
    }

    assert refusal(scheme, secrets, headers, BODY) == "signature_invalid"


@settings(deadline=None, max_examples=60)
@given(data=st.data(), body=st.binary(min_size=1, max_size=60).filter(lambda body: body.isascii()))
@pytest.mark.parametrize("name", COVERING)
def test_verifier_refuses_a_body_of_which_one_bit_is_another(
    name: str, data: st.DataObject, body: bytes
) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]
    headers = sign(body, secrets[0], AT)
    place = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[place // 8] ^= 1 << place % 8

    assert refusal(scheme, secrets, headers, body) is None
    assert refusal(scheme, secrets, headers, bytes(flipped)) == "signature_invalid"


@settings(deadline=None, max_examples=60)
@given(data=st.data())
@names
def test_verifier_refuses_a_signature_of_which_one_bit_is_another(name: str, data: st.DataObject) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]
    headers = sign(BODY, secrets[0], AT)
    field = next(name for name in headers if "signature" in name or "token" in name or "hmac" in name)
    text = bytearray(headers[field].partition(",v0=")[0].encode("latin-1"))
    place = data.draw(st.integers(0, len(text) * 8 - 1))
    text[place // 8] ^= 1 << place % 8
    changed = text.decode("latin-1")
    # Base64 has bits that mean nothing, hex has two cases, and lists have separators: those are the same digest.
    if _digests(changed) & _digests(headers[field]):
        return

    assert refusal(scheme, secrets, {**headers, field: changed}, BODY) is not None


def test_verifier_takes_no_control_character_for_white_space() -> None:
    headers = sign_hmac(BODY, OLD, AT)
    assert headers["x-shop-hmac"].endswith("=")

    spoilt = {"x-shop-hmac": headers["x-shop-hmac"][:-1] + "\x1d"}

    assert refusal(SHOP, (OLD,), spoilt, BODY) == "signature_invalid"


def _digests(text: str) -> set[bytes]:
    """Every digest that the text might be read as."""
    found = set()
    for part in text.replace(" ", ",").split(","):
        for piece in {part, part.partition("=")[2]}:
            for decode in (bytes.fromhex, lambda one: base64.b64decode(one + "=" * (-len(one) % 4))):
                try:
                    digest = decode(piece)
                except ValueError:
                    continue
                if len(digest) >= 16:
                    found.add(digest)
    return found


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from(["x-hub-signature-256", "stripe-signature", "x-slack-signature"]), st.text()
    )
)
@names
def test_verifier_answers_any_header_with_a_refusal(name: str, written: dict[str, str]) -> None:
    scheme, sign, secrets, _ = SCHEMES[name]
    fields = sign(BODY, secrets[0], AT)
    hostile = {field: text.encode("latin-1", "replace").decode("latin-1") for field, text in written.items()}
    spoilt = {field: next(iter(hostile.values()), "") for field in fields}

    assert refusal(scheme, secrets, {**spoilt, **hostile}, BODY) in {
        "signature_missing",
        "signature_invalid",
        "timestamp_out_of_window",
    }


# ── what a secret is ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("scheme", "secret"),
    [
        (Preset.STANDARD, "whsec_"),
        (Preset.STANDARD, "whsec_canary!"),
        (Preset.STANDARD, "whsk_" + base64.b64encode(RFC8032_PRIVATE).decode()),
        (Preset.STANDARD, "whpk_AAAA"),
        (Preset.GITLAB, "whsec_canary!"),
        (Preset.GITHUB, " \n"),
        (Preset.STRIPE, ""),
    ],
)
def test_verifier_is_not_made_of_a_secret_of_another_form(scheme: Preset, secret: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is what is looked at
        build_verifier(scheme, [secret])

    assert "canary" not in str(caught.value)


def test_symmetric_key_takes_no_asymmetric_signature_and_the_other_way_round() -> None:
    symmetric, asymmetric = WHSEC[0], KEY_PAIRS[0][1]
    hashed = sign_standard(BODY, symmetric, AT)
    signed = sign_asymmetric(BODY, asymmetric, AT)
    relabelled = {**hashed, "webhook-signature": hashed["webhook-signature"].replace("v1,", "v1a,")}

    assert refusal(Preset.STANDARD, (asymmetric,), hashed, BODY) == "signature_invalid"
    assert refusal(Preset.STANDARD, (symmetric,), signed, BODY) == "signature_invalid"
    assert refusal(Preset.STANDARD, (symmetric, asymmetric), relabelled, BODY) == "signature_invalid"


def test_sender_that_moves_from_one_key_to_the_other_may_sign_with_both() -> None:
    hashed, signed = sign_standard(BODY, WHSEC[0], AT), sign_asymmetric(BODY, KEY_PAIRS[0][1], AT)
    both = {**hashed, "webhook-signature": f"{signed['webhook-signature']} {hashed['webhook-signature']}"}

    assert refusal(Preset.STANDARD, (WHSEC[0],), both, BODY) is None
    assert refusal(Preset.STANDARD, (KEY_PAIRS[0][1],), both, BODY) is None


def test_gitlab_signing_token_is_never_taken_as_the_plain_token() -> None:
    assert refusal(Preset.GITLAB, WHSEC, {"x-gitlab-token": WHSEC[0]}, BODY) == "signature_missing"


def test_gitlab_takes_either_while_one_replaces_the_other() -> None:
    secrets = (OLD, WHSEC[0])

    assert refusal(Preset.GITLAB, secrets, sign_gitlab(BODY, OLD, AT), BODY) is None
    assert refusal(Preset.GITLAB, secrets, sign_standard(BODY, WHSEC[0], AT), BODY) is None
    assert refusal(Preset.GITLAB, secrets, sign_gitlab(BODY, "x", AT), BODY) == "signature_invalid"


@pytest.mark.parametrize(
    ("scheme", "text"),
    [
        (HmacSignature(header="x-sig", prefix="sha256="), "sha256={hex}"),
        (HmacSignature(header="x-sig", encoding="base64", prefix="v1,"), "v1,{base64}"),
        (HmacSignature(header="x-sig"), "00, {hex}"),
    ],
)
def test_hmac_is_read_as_its_prefix_and_encoding_say(scheme: HmacSignature, text: str) -> None:
    digest = mac(OLD.encode(), BODY)
    written = text.format(hex=digest.hex(), base64=base64.b64encode(digest).decode())

    assert refusal(scheme, (OLD,), {"x-sig": written}, BODY) is None
    assert refusal(scheme, (OLD,), {"x-sig": digest.hex()[:-2]}, BODY) == "signature_invalid"


def test_body_is_digested_once_for_each_key_however_many_signatures_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    digested: list[int] = []
    digest = hmac.digest

    def counted(key: bytes, text: bytes, algorithm: Any) -> bytes:
        digested.append(len(text))
        return digest(key, text, algorithm)

    monkeypatch.setattr(hmac, "digest", counted)
    verifier = build_verifier(
        Preset.STANDARD, ["whsec_" + base64.b64encode(key).decode() for key in (b"a", b"b")]
    )
    fields = {
        "webhook-id": "1",
        "webhook-timestamp": str(AT),
        "webhook-signature": " ".join(["v1," + base64.b64encode(bytes(32)).decode()] * 500),
    }

    with pytest.raises(EventRejected, match="does not fit"):
        verifier.verify(fields, b"x" * 1_000, now_us=AT * 1_000_000)

    assert len(digested) == 2
