"""In-process fan-out: what the detector found goes to everyone who watches, and nobody waits.

Each subscriber has a bounded queue of its own. One that reads too slowly loses its oldest items and
is told how many: a viewer that fell behind wants the newest boxes, and the store has the rest.
Publishing never blocks and never fails, so a viewer cannot slow a camera down.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")

QUEUE_ITEMS = 256  # about ten seconds of five cameras at 5 frames a second


@dataclass(frozen=True, slots=True)
class Delivery(Generic[T]):
    """One item, and how many the subscriber lost between the delivery before and this one."""

    item: T
    missed: int


class Subscription(Generic[T]):
    """One subscriber's queue. Iterate over it; leave its `with` block to unsubscribe.

    wants  says which items are for this subscriber; the others neither fill its queue nor count
    size   how many items wait at most, 1 or more
    """

    def __init__(self, bus: Bus[T], wants: Callable[[T], bool], size: int) -> None:
        self._bus = bus
        self._wants = wants
        self._items: deque[T] = deque(maxlen=size)
        self._missed = 0
        self._closed = False
        self._stirred = asyncio.Event()

    def offer(self, item: T) -> None:
        """Queue `item` if it is wanted; the oldest item makes room for it."""
        if not self._wants(item):
            return
        self._missed += len(self._items) == self._items.maxlen
        self._items.append(item)
        self._stirred.set()

    def close(self) -> None:
        """Take nothing more; the iteration ends after what is queued. May be called twice."""
        self._closed = True
        self._bus.forget(self)
        self._stirred.set()

    async def __aiter__(self) -> AsyncIterator[Delivery[T]]:
        while True:
            while self._items:
                missed, self._missed = self._missed, 0
                yield Delivery(self._items.popleft(), missed)
            if self._closed:
                return
            self._stirred.clear()
            await self._stirred.wait()

    def __enter__(self) -> Subscription[T]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Bus(Generic[T]):
    """Hands each published item to every subscriber. Belongs to one event loop's thread."""

    def __init__(self) -> None:
        self._subscriptions: set[Subscription[T]] = set()
        self._closed = False

    @property
    def subscribers(self) -> int:
        """How many are subscribed now."""
        return len(self._subscriptions)

    def subscribe(
        self, wants: Callable[[T], bool] = lambda _: True, *, size: int = QUEUE_ITEMS
    ) -> Subscription[T]:
        """Items published from now on. After `close` the subscription is an empty one."""
        subscription = Subscription(self, wants, size)
        self._subscriptions.add(subscription)
        if self._closed:
            subscription.close()
        return subscription

    def publish(self, item: T) -> None:
        """Queue `item` for every subscriber that wants it."""
        for subscription in self._subscriptions:
            subscription.offer(item)

    def forget(self, subscription: Subscription[T]) -> None:
        """Drop a subscription; `Subscription.close` calls this."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End every subscription after what it has queued: part of draining a server."""
        self._closed = True
        for subscription in tuple(self._subscriptions):
            subscription.close()
