"""How many frames a second each camera may send while the detector cannot keep up.

    behind for some seconds  ──> a cap, one for all cameras, under which the detector catches up
    still behind, no better  ──> a lower one
    caught up for a while    ──> a little higher, again and again
    no camera comes near it  ──> none

The cap is max-min fair: cameras that send little keep what they send, the others get the same each.
Pure: no clock, no thread; moments in seconds are passed in.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

_LEAST_FPS = 0.2


@dataclass(frozen=True, slots=True)
class Policy:
    """Seconds, shares and factors.

    behind    a layer's wait for the detector that is too long, more than 0; a quarter of it is none
    patience  for which it is too long before anything is done
    settle    after a cap was set, until it is judged
    calm      for which nothing waits before the cap is raised, and between two raises
    share     of what the detector does that cameras may send: the rest is for what waits
    drains    of what the detector does: cameras that send no more let it catch up
    lower     of the cap, where it was too high
    steepest  of what was, for one step: a detector that stalled for a moment is soon as fast again
    higher    of the cap, where it was enough
    near      of the cap: no camera sends as much, so that nobody needs it
    """

    behind: float = 2.0
    patience: float = 5.0
    settle: float = 10.0
    calm: float = 5.0
    share: float = 0.8
    drains: float = 0.9
    lower: float = 0.8
    steepest: float = 0.5
    higher: float = 1.1
    near: float = 0.75


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen in the last seconds.

    at    now
    wait  of the layer that has waited longest for the detector, seconds
    done  layers a second that the detector has finished
    sent  layers a second that each camera has sent
    """

    at: float
    wait: float
    done: float
    sent: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Overload:
    """cap: frames a second for each camera, None: as many as it likes; the rest is memory."""

    cap: float | None = None
    behind_since: float | None = None
    calm_since: float | None = None
    set_at: float = -math.inf


def after(state: Overload, load: Load, policy: Policy) -> Overload:
    """The state as it is now. Call it about once a second."""
    behind = load.wait > policy.behind
    calm = load.wait <= policy.behind / 4
    state = replace(
        state,
        behind_since=_since(state.behind_since, behind, load.at),
        calm_since=_since(state.calm_since, calm, load.at),
    )
    if _lasts(state.behind_since, policy.patience, load.at):
        return _restrained(state, load, policy)
    if state.cap is not None and _lasts(state.calm_since, policy.calm, load.at):
        return _relieved(state, state.cap, load, policy)
    return state


def fair(sent: Iterable[float], total: float) -> float:
    """The largest cap under which all together send no more than `total`; infinite if they do not.

    sent  what each sends, 0 or more
    """
    rates = sorted(sent)
    left = total
    for index, rate in enumerate(rates):
        each = left / (len(rates) - index)
        if rate > each:
            return each
        left -= rate
    return math.inf


def _restrained(state: Overload, load: Load, policy: Policy) -> Overload:
    if load.at - state.set_at < policy.settle:
        return state
    if state.cap is not None and sum(load.sent) <= policy.drains * load.done:
        return state  # what waits gets less
    cap = fair(load.sent, policy.share * load.done)
    if state.cap is not None:
        cap = min(cap, policy.lower * state.cap)
    elif cap == math.inf:  # they send little: what waits is old
        return state
    before = state.cap or max(load.sent)
    cap = max(cap, policy.steepest * before, _LEAST_FPS)
    return replace(state, cap=cap, set_at=load.at)


def _relieved(state: Overload, cap: float, load: Load, policy: Policy) -> Overload:
    if max(load.sent, default=0.0) < policy.near * cap:
        return Overload()
    return replace(state, cap=policy.higher * cap, calm_since=load.at)


def _since(since: float | None, holds: bool, now: float) -> float | None:
    if not holds:
        return None
    return now if since is None else since


def _lasts(since: float | None, seconds: float, now: float) -> bool:
    return since is not None and now - since >= seconds
