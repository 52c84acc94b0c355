"""Auxiliary layers within the byte budget: behind machine layers, and never in the way of them."""

from __future__ import annotations

from edge.rate import LAYER_COST, MESSAGE_COST, Limits, Plan, RateControl

BUDGET = 1250.0


def run(
    rate: RateControl, seconds: float, *, left: int, layers: int = 0, urgent: bool = False
) -> tuple[int, int, float]:
    """(reply bytes, machine layers, wire bytes) that went, with so many layers of 100 B ready."""
    now, replied, sent, wire, total = 0.0, 0, 0, 0.0, 0
    while now < seconds:
        ready = [100] * layers
        count = rate.release(ready, now)
        if count:
            rate.sent(ready[:count], now)
            wire += sum(ready[:count]) + MESSAGE_COST + LAYER_COST * count
            total += count
            rate.acked(total, now + 0.05)
            sent += count
        while most := rate.reply(left - replied, ready[count:], now, urgent=urgent):
            replied += most
            rate.replied(most, now)
            wire += most + MESSAGE_COST / 2
        assert rate.wake is None or rate.wake > now
        now += 0.05
    return replied, sent, wire


def test_without_a_limit_all_goes_at_once() -> None:
    assert RateControl(Limits(), 0.0).reply(50_000, [100], 0.0) == 50_000


def test_a_reply_keeps_to_the_budget() -> None:
    rate = RateControl(Limits(budget=BUDGET), 0.0)
    replied, _, wire = run(rate, 60.0, left=1 << 20)
    assert wire <= 1.05 * 60 * BUDGET
    assert replied >= 0.6 * 60 * BUDGET  # all that the headers leave


def test_a_backlog_of_layers_goes_before_it() -> None:
    rate = RateControl(Limits(budget=BUDGET), 0.0)
    replied, sent, wire = run(rate, 60.0, left=1 << 20, layers=3)
    assert sent >= 0.9 * 60 * BUDGET / (
        MESSAGE_COST + 145
    )  # each a message of its own, as soon as it may go
    assert replied <= 0.15 * 60 * BUDGET
    assert wire <= 1.05 * 60 * BUDGET


def test_an_urgent_one_does_not_wait_for_them() -> None:
    rate = RateControl(Limits(budget=BUDGET), 0.0)
    replied, _, wire = run(rate, 60.0, left=1 << 20, layers=3, urgent=True)
    assert replied >= 0.4 * 60 * BUDGET
    assert wire <= 1.05 * 60 * BUDGET


def test_frames_are_planned_smaller_while_one_waits() -> None:
    rate, busy = (RateControl(Limits(budget=4 * BUDGET, best=255), 0.0) for _ in range(2))
    most = []
    for control, left in ((rate, 0), (busy, 1 << 16)):
        for step in range(20):
            control.reply(left, [], step * 0.2)
            plan = control.frame(step * 0.2)
        most.append(getattr(plan, "most", 0))
    assert 0 < most[1] < most[0]


def test_a_reply_goes_at_the_thinnest_budget_too() -> None:
    rate = RateControl(Limits(budget=250.0, coalesce=5.0), 0.0)
    replied, _, wire = run(rate, 60.0, left=3000)
    assert replied == 3000
    assert wire <= 1.05 * 60 * 250 + 2 * 250  # what had been saved up may go at once


def test_it_wakes_when_there_is_room() -> None:
    rate = RateControl(Limits(budget=BUDGET), 0.0)
    now = 0.0
    for _ in range(5):
        rate.release([], now)
        most = rate.reply(10_000, [], now)
        if most:
            rate.replied(most, now)
            continue
        assert rate.wake is not None
        now = rate.wake
        rate.release([], now)
        assert rate.reply(10_000, [], now)


def still(rate: RateControl, seconds: float, *, layers: int) -> tuple[int, float, float]:
    """(still bytes, wire bytes, longest wait of a layer) with so many layers of 100 B a second."""
    now, went, wire, total = 0.0, 0, 0.0, 0
    waiting: list[float] = []
    longest = 0.0
    for tick in range(round(seconds * 20)):
        now = tick / 20
        if layers and tick % (20 // layers) == 0:
            waiting.append(now)
        ready = [100] * len(waiting)
        if count := rate.release(ready, now):
            rate.sent(ready[:count], now)
            total += count
            wire += 100 * count + MESSAGE_COST + LAYER_COST * count
            longest = max(longest, *(now - since for since in waiting[:count]))
            del waiting[:count]
            rate.acked(total, now + 0.05)
        rate.reply(0, [100] * len(waiting), now)
        while most := rate.spare((1 << 20) - went, [100] * len(waiting), now):
            went += most
            rate.replied(most, now)
            wire += most + MESSAGE_COST / 2
        assert rate.wake is None or rate.wake > now
    return went, wire, longest


def test_a_still_takes_what_the_budget_leaves_and_no_layer_waits_for_it() -> None:
    went, wire, longest = still(RateControl(Limits(budget=BUDGET), 0.0), 60.0, layers=1)
    assert went >= 0.4 * 60 * (BUDGET - MESSAGE_COST - 145)
    assert wire <= 1.05 * 60 * BUDGET
    assert longest <= 0.1


def test_a_still_waits_where_layers_take_all_there_is() -> None:
    went, wire, _ = still(RateControl(Limits(budget=BUDGET), 0.0), 60.0, layers=4)
    assert went <= 1200  # what was saved up before the first layer
    assert wire <= 1.05 * 60 * BUDGET


def test_a_still_gets_a_little_where_layers_could_take_it_all() -> None:
    """Frames are as good as the budget allows, so that nothing is left by itself."""
    rate = RateControl(Limits(budget=BUDGET, boxes=False, gather=5.0, best=255), 0.0)
    now, went, wire, total, coded = 0.0, 0, 0.0, 0, 0
    for tick in range(3000):
        now = tick / 10
        if tick % 2 == 0 and isinstance(plan := rate.frame(now), Plan):
            size = round(40 * 12 ** (plan.best / 255))
            size = min(size, max(plan.most or size, 40))
            rate.coded(size, plan.best)
            coded += 1
            if rate.release([size], now):
                rate.sent([size], now)
                wire += size + 160
                total += 1
        if tick % 50 == 0:
            rate.acked(total, now)
        rate.reply(0, [], now)
        while most := rate.spare((1 << 20) - went, [], now):
            went += most
            rate.replied(most, now)
            wire += most + 75
        rate.measured(round(wire), (0, 0), now)
    assert coded >= 0.98 * 1500
    assert 0.01 * 300 * BUDGET <= went <= 0.15 * 300 * BUDGET
    assert wire <= 1.05 * 300 * BUDGET


def test_without_a_limit_a_still_goes_piece_by_piece() -> None:
    rate = RateControl(Limits(), 0.0)
    assert rate.spare(50_000, [], 0.0) == 1200
    rate.replied(1200, 0.0)
    assert rate.spare(50_000, [], 0.0) == 0
    assert rate.wake is not None
    assert rate.spare(50_000, [], rate.wake) == 1200
    assert rate.spare(0, [], 100.0) == 0


def test_a_still_waits_for_replies() -> None:
    rate = RateControl(Limits(budget=BUDGET), 0.0)
    assert rate.reply(9000, [], 0.0) > 0
    assert rate.spare(9000, [], 0.0) == 0
