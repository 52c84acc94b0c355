"""Signatures of webhooks: for who receives them, and for the server that sends them.

    Glimpse-Signature: t=1767225600,v1=5f2c...     HMAC-SHA256 over "1767225600." and the body

    event = glimpse.verify_webhook(request.body, request.headers["Glimpse-Signature"], SECRET)

A message may come more than once: the header Idempotency-Key names the frame, and is the same then.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from typing import Any

from glimpse.errors import InvalidSignature

SIGNATURE = "Glimpse-Signature"
KEY = "Idempotency-Key"


def sign_webhook(body: bytes, secret: bytes, at: int) -> str:
    """The header's value; `at` in unix seconds."""
    return f"t={at},v1={_mac(body, secret, str(at))}"


def verify_webhook(
    body: bytes,
    signature: str,
    secret: bytes,
    *,
    tolerance_s: float = 300.0,
    now: float | None = None,
) -> Any:
    """The message: what stands in the body, as JSON. Raises InvalidSignature.

    body         as it came in, not parsed and written again
    secret       what the server's secret_file holds, without white space around it
    tolerance_s  how far the two clocks may be apart, and how long a message may be under way
    now          unix seconds; None: this machine's clock
    """
    parts = [part.partition("=")[::2] for part in signature.split(",")]
    times = [value for name, value in parts if name == "t"]
    if len(times) != 1 or not re.fullmatch(r"[0-9]{1,15}", times[0]):
        raise InvalidSignature("the signature has no time")
    expected = _mac(body, secret, times[0]).encode()
    given = [value.encode() for name, value in parts if name == "v1"]
    if not any(hmac.compare_digest(expected, value) for value in given):
        raise InvalidSignature("the signature is not that of this body and secret")
    if abs((time.time() if now is None else now) - int(times[0])) > tolerance_s:
        raise InvalidSignature("the message is too old, or from the future")
    return json.loads(body)


def _mac(body: bytes, secret: bytes, at: str) -> str:
    return hmac.new(secret, f"{at}.".encode() + body, hashlib.sha256).hexdigest()
