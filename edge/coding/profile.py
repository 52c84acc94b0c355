"""Which task profile the next frame is coded for, where the camera chooses: `adaptive`.

    a sign of something: the server's answer, or a change here  ──> detect layers, at once
    for `linger` seconds no sign, and the server saw nothing    ──> recognise layers

Answers come late, and none come while the link is down: what counts is when the frame of an answer
was captured. Without an answer nobody knows that nothing is in view, and detect layers go on.

A change that the server makes nothing of, such as a tree in the wind, becomes usual in time, and is
then no sign any more. Pure: no clock, no thread; moments in seconds are passed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from common.coding.summary import block_means

ProfileSetting = Literal["detect", "recognise", "adaptive"]

_BLOCK = 4  # positions of the latent on a side: 64 pixels of the working picture
_MOST = 2.0  # a change of one value that counts, in standard deviations of the latent


@dataclass(frozen=True, slots=True)
class Policy:
    """linger: seconds; least: a `change` that can be a sign; ratio: of a sign to what is usual;
    memory: seconds in which a change becomes usual."""

    linger: float = 5.0
    least: float = 0.15
    ratio: float = 2.5
    memory: float = 30.0


@dataclass(frozen=True, slots=True)
class View:
    """What is known of the view.

    is_lifted    detect layers rather than recognise layers; so at first, when nothing is known
    sign_at      when the frame with the last sign of something was captured
    answered_at  when the frame of the newest answer was captured
    is_empty     that answer was: nothing is in view
    usual        `change` while nothing is in view
    captured_at  when the last frame was captured
    """

    is_lifted: bool = True
    sign_at: float = -math.inf
    answered_at: float = -math.inf
    is_empty: bool = False
    usual: float = 0.0
    captured_at: float = -math.inf


@dataclass(frozen=True, slots=True)
class Captured:
    """A frame was captured; `change` is that from the frame before."""

    at: float
    change: float


@dataclass(frozen=True, slots=True)
class Answered:
    """The server has looked at the frame captured at that moment."""

    at: float
    in_view: bool


def after(view: View, event: Captured | Answered, policy: Policy) -> View:
    """The view as it is after the event."""
    match event:
        case Captured():
            return _captured(view, event, policy)
        case Answered():
            return _answered(view, event, policy)


def _captured(view: View, event: Captured, policy: Policy) -> View:
    is_sign = event.change >= max(policy.least, policy.ratio * view.usual)
    usual = view.usual
    if view.is_empty:
        passed = max(event.at - view.captured_at, 0.0)
        usual += (event.change - usual) * -math.expm1(-passed / policy.memory)
    return replace(
        view,
        is_lifted=view.is_lifted or is_sign,
        sign_at=max(view.sign_at, event.at) if is_sign else view.sign_at,
        usual=usual,
        captured_at=event.at,
    )


def _answered(view: View, event: Answered, policy: Policy) -> View:
    if event.at < view.answered_at:
        return view
    view = replace(view, answered_at=event.at, is_empty=not event.in_view)
    if event.in_view:
        return replace(view, is_lifted=True, sign_at=max(view.sign_at, event.at))
    return replace(view, is_lifted=view.is_lifted and event.at - view.sign_at < policy.linger)


def change(y: NDArray[np.float32], last: NDArray[np.float32]) -> float:
    """How far the block that changed most is above the usual one; y, last: M h w, unit variance.

    Noise and light change all blocks, a thing that moves a few. 0 for latents of two sizes.
    """
    if y.shape != last.shape:
        return 0.0
    blocks = block_means(np.minimum(np.abs(y - last), _MOST).mean(axis=0), _BLOCK)
    return float(blocks.max() - np.median(blocks))
