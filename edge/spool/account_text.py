"""The account of frames for people, and as JSON: what `glimpse-edge ledger` prints."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from edge.spool.account import Account, total


def as_lines(camera: str, accounts: Iterable[Account]) -> list[str]:
    """A paragraph for each boot, and one for all of them if there are several."""
    boots = list(accounts)
    lines = [f"camera {camera}"]
    for account in boots:
        began = datetime.datetime.fromtimestamp(account.began).isoformat(" ", "seconds")
        lines += _paragraph(f"  run {account.boot or '(earlier ones)'}, begun {began}", account)
    if len(boots) > 1:
        lines += _paragraph(f"  all {len(boots)} runs", total(boots))
    if not all(account.adds_up for account in boots):
        lines.append("  THIS DOES NOT ADD UP")
    return lines


def as_dict(camera: str, accounts: Iterable[Account]) -> dict[str, Any]:
    """For JSON."""
    boots = list(accounts)
    return {
        "camera": camera,
        "adds_up": all(account.adds_up for account in boots),
        "total": _dict(total(boots)),
        "runs": [_dict(account) for account in boots],
    }


def _dict(account: Account) -> dict[str, Any]:
    derived = {"coded": account.coded, "acked": account.acked, "in_hand": account.in_hand}
    return asdict(account) | derived | {"adds_up": account.adds_up}


def _paragraph(title: str, account: Account) -> list[str]:
    lost = {**account.expired}
    for reason, frames in account.lost.items():
        lost[reason] = lost.get(reason, 0) + frames
    hand = "" if account.ended else f", {account.in_hand} in hand (it runs, or was killed)"
    return [
        title,
        f"    {account.captured} captured = {account.coded} coded"
        f" + {_sum(account.skipped)} skipped{_why(account.skipped)}"
        f" + {_sum(account.thinned)} thinned{_why(account.thinned)} + {account.bad} bad{hand}",
        f"    {account.coded} coded = {account.acked} acked + {account.refused} refused"
        f" + {_sum(lost)} expired{_why(lost)} + {account.waiting} waiting",
    ]


def _sum(reasons: Mapping[str, int]) -> int:
    return sum(reasons.values())


def _why(reasons: Mapping[str, int]) -> str:
    told = ", ".join(f"{frames} {reason}" for reason, frames in sorted(reasons.items()))
    return f" ({told})" if told else ""
