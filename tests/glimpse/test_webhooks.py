"""Signatures of webhooks, as who receives them sees it."""

from __future__ import annotations

import hashlib
import hmac

import pytest

import glimpse
from glimpse.webhooks import sign_webhook

SECRET = b"0123456789abcdef"
BODY = b'{"frame":"gate/b1/7"}'
AT = 1_767_225_600
SIGNED = sign_webhook(BODY, SECRET, AT)


def test_it_is_what_the_page_says() -> None:
    mac = hmac.new(SECRET, f"{AT}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert f"t={AT},v1={mac}" == SIGNED


def test_a_good_one_gives_the_message() -> None:
    assert glimpse.verify_webhook(BODY, SIGNED, SECRET, now=AT + 299) == {"frame": "gate/b1/7"}
    later = f"t={AT},v2=new,v1=00,{SIGNED.partition(',')[2]}"  # of versions to come, of two secrets
    assert glimpse.verify_webhook(BODY, later, SECRET, now=AT)


@pytest.mark.parametrize("now", [AT + 301, AT - 301])
def test_an_old_one_sent_again(now: float) -> None:
    with pytest.raises(glimpse.InvalidSignature, match="too old"):
        glimpse.verify_webhook(BODY, SIGNED, SECRET, now=now)


@pytest.mark.parametrize(
    ("body", "signature", "secret"),
    [
        (BODY + b" ", SIGNED, SECRET),
        (BODY, SIGNED, SECRET + b"0"),
        (BODY, SIGNED.replace(f"t={AT}", f"t={AT + 1}"), SECRET),
        (BODY, SIGNED[:-1], SECRET),
        (BODY, f"t={AT}", SECRET),
        (BODY, f"t={AT},v1=ü", SECRET),
        (BODY, SIGNED.partition(",")[2], SECRET),
        (BODY, f"t={AT},{SIGNED}", SECRET),
        (BODY, f"t={'9' * 5000},v1=00", SECRET),
        (BODY, "", SECRET),
    ],
)
def test_what_is_none(body: bytes, signature: str, secret: bytes) -> None:
    with pytest.raises(glimpse.InvalidSignature):
        glimpse.verify_webhook(body, signature, secret, now=AT)
