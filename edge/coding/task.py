"""The task profile of each frame: the one that is set, or the policy of profile.py kept going.

Frames are coded on one thread, and answers come on another.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from common.bitstream import DETECT
from common.session.events import Outcome, Verdict
from edge.coding.encoder import Analysis, Encoder
from edge.coding.profile import Answered, Captured, Policy, ProfileSetting, View, after, change
from edge.rate import Plan

_PENDING = 4096  # frames whose answers are waited for; of older ones they say nothing


class Task:
    """Says what each frame is to be coded for.

    setting  a profile, or adaptive
    quality  of recognise layers, 0..255
    score    presence of a class that counts as something in view, 0..1
    boot     of this process; answers on older boots' frames are of the past

    Raises BadSettings for a profile that the encoder's weights do not have.
    """

    def __init__(
        self,
        encoder: Encoder,
        setting: ProfileSetting,
        *,
        quality: int,
        score: float,
        policy: Policy,
        boot: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        names = ("detect", "recognise") if setting == "adaptive" else (setting,)
        self._numbers = [encoder.profile(name) for name in names]
        self._quality, self._score = quality, score
        self._policy, self._boot, self._clock = policy, boot, clock
        self._view = View()
        self._last: NDArray[np.float32] | None = None
        self._captured: OrderedDict[int, float] = OrderedDict()
        self._lock = threading.Lock()
        self.planned: Counter[int] = Counter()  # frames by profile

    def plan(self, analysis: Analysis, plan: Plan) -> tuple[int, Plan]:
        """The number of the profile for this frame, and the plan as it is for that profile."""
        profile = self._numbers[0] if len(self._numbers) == 1 else self._adapted(analysis)
        self.planned[profile] += 1
        if profile != DETECT:
            plan = replace(plan, best=max(self._quality, plan.least))
        return profile, plan

    def sent(self, seq: int) -> None:
        """The frame that was planned last has this number."""
        with self._lock:
            self._captured[seq] = self._view.captured_at
            if len(self._captured) > _PENDING:
                self._captured.popitem(last=False)

    def answered(self, verdict: Verdict) -> None:
        """The server's word on a frame."""
        if verdict.frame.boot != self._boot:
            return
        with self._lock:
            at = self._captured.pop(verdict.frame.seq, None)
            if at is None or verdict.outcome is not Outcome.STORED or verdict.boxes is None:
                return
            in_view = bool(verdict.boxes) or any(
                presence.score >= self._score for presence in verdict.presences
            )
            self._view = after(self._view, Answered(at, in_view), self._policy)

    def _adapted(self, analysis: Analysis) -> int:
        moved = 0.0 if self._last is None else change(analysis.y, self._last)
        self._last = analysis.y
        with self._lock:
            self._view = after(self._view, Captured(self._clock(), moved), self._policy)
            return self._numbers[0 if self._view.is_lifted else 1]
