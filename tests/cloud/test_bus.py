"""The bus: everyone gets everything wanted, in order, and a slow one hurts only itself."""

from __future__ import annotations

import asyncio

from cloud.bus import Bus, Delivery, Subscription


async def drain(subscription: Subscription[int]) -> list[Delivery[int]]:
    return [delivery async for delivery in subscription]


async def test_every_subscriber_gets_every_item_in_order() -> None:
    bus = Bus[int]()
    first, second = bus.subscribe(), bus.subscribe()
    for item in range(5):
        bus.publish(item)
    bus.close()
    expected = [Delivery(item, 0) for item in range(5)]
    assert await drain(first) == expected
    assert await drain(second) == expected


async def test_a_waiting_subscriber_wakes_for_each_item() -> None:
    bus = Bus[int]()
    got: list[int] = []

    async def watch(subscription: Subscription[int]) -> None:
        got.extend([delivery.item async for delivery in subscription])

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(bus.subscribe()))
        for item in range(3):
            await asyncio.sleep(0)
            bus.publish(item)
        bus.close()
    assert got == [0, 1, 2]


async def test_a_slow_subscriber_loses_the_oldest_and_is_told_how_many() -> None:
    bus = Bus[int]()
    slow, quick = bus.subscribe(size=3), bus.subscribe(size=100)
    for item in range(10):
        bus.publish(item)
    bus.close()
    assert await drain(slow) == [Delivery(7, 7), Delivery(8, 0), Delivery(9, 0)]
    assert len(await drain(quick)) == 10


async def test_losses_are_told_once() -> None:
    bus = Bus[int]()
    subscription = bus.subscribe(size=1)
    stream = aiter(subscription)
    bus.publish(1)
    bus.publish(2)
    assert await anext(stream) == Delivery(2, 1)
    bus.publish(3)
    assert await anext(stream) == Delivery(3, 0)


async def test_unwanted_items_neither_arrive_nor_push_others_out() -> None:
    bus = Bus[int]()
    even = bus.subscribe(lambda item: item % 2 == 0, size=2)
    for item in (2, 3, 5, 7, 4):
        bus.publish(item)
    bus.close()
    assert await drain(even) == [Delivery(2, 0), Delivery(4, 0)]


async def test_leaving_the_block_unsubscribes() -> None:
    bus = Bus[int]()
    with bus.subscribe() as subscription:
        assert bus.subscribers == 1
    assert bus.subscribers == 0
    bus.publish(1)
    assert await drain(subscription) == []


async def test_a_subscriber_may_leave_while_others_are_served() -> None:
    bus = Bus[int]()
    with bus.subscribe() as subscription, bus.subscribe() as other:
        bus.publish(1)
        async for _ in subscription:
            other.close()
            break
        bus.publish(2)
        assert await drain(other) == [Delivery(1, 0)]


async def test_subscribing_to_a_closed_bus_ends_at_once() -> None:
    bus = Bus[int]()
    bus.close()
    assert await drain(bus.subscribe()) == []
