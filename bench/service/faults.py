"""Whether a frame can be lost: real processes, one random fault a round, and the books afterwards.

After the last round the cameras drain and end. Then, for each boot of each camera, has to hold:

    the ledger adds up; a killed process may take along what it had in hand, and no more
    stored = acked, each frame once, in its order
    boxes are those of an undisturbed detector on the same layers
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.report import write_report
from bench.service.house import Broken, House, Node, made_film, wait_until
from cloud.detector import LayerDetector
from cloud.folder import data_files
from cloud.settings import read_settings
from cloud.store import by_score
from cloud.store.sqlite import SqliteFrameStore
from cloud.weights import load_weights
from common.bitstream import is_inter
from common.codec import Coded
from edge.spool.account import Account, read_accounts, total
from edge.spool.sqlite import spool_file

_SIDE = 160  # small pictures: what is looked for is not what networks take
_FRESH = 3  # frames of each camera that are to arrive after a fault
_LONGEST_S = 3.0
_DAY_S = 86_400.0

Fault = Callable[[House, random.Random], None]
"""Does the harm, waits, mends it."""


def faults(
    source: str | None,
    out: Path,
    weights: Path,
    *,
    rounds: int,
    seed: int,
    cameras: int,
    fps: float,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """Writes faults.json and faults.png into `out`. Raises Broken if something ends, or stalls.

    source  of the cameras; None: a film made for it
    only    these faults; none: all
    """
    rng = random.Random(seed)
    deck = _deck(rng, only or tuple(FAULTS))
    recovery: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="glimpse-faults-") as name:
        folder = Path(name)
        film = Path(source).resolve() if source else made_film(folder / "film")
        options = ["--fps", str(fps), "--side", str(_SIDE)]
        with House(folder, film, weights.resolve(), cameras, options) as house:
            try:
                _wait_for_fresh(house)
                for _ in range(rounds):
                    kind = next(deck)
                    time.sleep(rng.uniform(0.0, 2.0))
                    FAULTS[kind](house, rng)
                    recovery[kind].append(_wait_for_fresh(house))
                report = _books(house, weights)
            except Broken as error:
                logs = "\n".join(n.log()[-3000:] for n in (house.server, *house.cameras))
                raise Broken(f"{error}\n{logs}") from error
            means = "a full file system" if house.server.is_mounted else "a bound on files"
    report = {
        "rounds": rounds,
        "seed": seed,
        **report,
        "faults": {kind: len(recovery.get(kind, ())) for kind in FAULTS},
        "recovery_s": {kind: _spread(times) for kind, times in recovery.items()},
        "full_disk": means,
    }
    write_report(out / "faults.json", report)
    _plot(out / "faults.png", recovery)
    return report


def holds(report: Mapping[str, Any]) -> bool:
    """Whether all that is promised was kept."""
    never = (
        "refused", "waiting", "lost", "stored_beyond_acked", "duplicated", "boots_out_of_order",
        "without_boxes", "boxes_different",
    )  # fmt: skip
    return bool(report["adds_up"]) and not any(report[name] for name in never)


def _deck(rng: random.Random, kinds: Sequence[str]) -> Iterator[str]:
    """Each kind as often as the others, in random order."""
    while True:
        yield from rng.sample(kinds, len(kinds))


def _kill_server(house: House, rng: random.Random) -> None:
    house.server.kill()
    house.look_for_lost()
    _wait(rng)
    house.start_server()


def _kill_edge(house: House, rng: random.Random) -> None:
    camera = rng.choice(house.cameras)
    camera.kill()
    _wait(rng)
    house.start_camera(camera)


def _kill_both(house: House, rng: random.Random) -> None:
    for node in rng.sample([house.server, *house.cameras], 1 + len(house.cameras)):
        node.kill()
    house.look_for_lost()
    house.start_server()
    for camera in house.cameras:
        house.start_camera(camera)


def _cut_link(house: House, rng: random.Random) -> None:
    house.cut_link()
    _wait(rng)
    house.mend_link()


def _full_disk(choose: Callable[[House, random.Random], Node]) -> Fault:
    def fault(house: House, rng: random.Random) -> None:
        node = choose(house, rng)
        node.fill_disk()
        _wait(rng)
        node.free_disk()

    return fault


def _slow_disk(house: House, rng: random.Random) -> None:
    node = rng.choice([house.server, *house.cameras])
    node.slow_down(rng.uniform(0.1, 1.0))
    _wait(rng)
    node.slow_down(0.0)


def _clock_jump(house: House, rng: random.Random) -> None:
    node = rng.choice([house.server, *house.cameras])
    node.shift_clock(rng.choice([-1, 1]) * rng.choice([1.0, 60.0, 3600.0, _DAY_S]))
    _wait(rng)


FAULTS: Mapping[str, Fault] = {
    "kill_server": _kill_server,
    "kill_edge": _kill_edge,
    "kill_all": _kill_both,
    "cut_link": _cut_link,
    "full_disk_edge": _full_disk(lambda house, rng: rng.choice(house.cameras)),
    "full_disk_server": _full_disk(lambda house, _: house.server),
    "slow_disk": _slow_disk,
    "clock_jump": _clock_jump,
}


def _wait(rng: random.Random) -> None:
    time.sleep(rng.uniform(0.2, _LONGEST_S))


def _wait_for_fresh(house: House) -> float:
    """Until each camera's new frames arrive; seconds."""
    before = {name: len(house.stored(name)) for name in house.names}

    def arrived() -> bool:
        for camera in house.cameras:
            if not camera.is_alive:
                raise Broken(f"{camera.name} ended by itself")
        if not house.server.is_alive:
            raise Broken("the server ended by itself")
        return all(len(house.stored(name)) >= before[name] + _FRESH for name in house.names)

    return wait_until(arrived, "frames arrive again")


def _books(house: House, weights: Path) -> dict[str, Any]:
    """Ends everything and counts."""
    for camera in house.cameras:
        if code := camera.end():
            raise Broken(f"{camera.name} ended with {code}")
    house.look_for_lost()
    # What the detector was behind with, or what a full disk did not take, is looked at again.
    wait_until(lambda: not house.without_boxes(), "every stored frame has its boxes")
    if code := house.server.end():
        raise Broken(f"the server ended with {code}")
    accounts: list[Account] = []
    stored = duplicated = out_of_order = different = without = lost = unknown = 0
    for camera in house.cameras:
        own = read_accounts(spool_file(camera.disk, camera.name))
        accounts += own
        names = house.stored(camera.name)
        stored += len(names)
        duplicated += len(names) - len(set(names))
        for account in own:
            seqs = [seq for boot, seq in names if boot == account.boot]
            out_of_order += seqs != sorted(seqs)
            lost += max(account.acked - len(seqs), 0)
            unknown += max(len(seqs) - account.acked, 0)
        checked = _boxes(house.data, camera.name, weights)
        without, different = without + checked["without"], different + checked["different"]
    all_of_them = total(accounts)
    return {
        "captured": all_of_them.captured,
        "acked": all_of_them.acked,
        "refused": all_of_them.refused,
        "skipped": dict(all_of_them.skipped),
        "thinned": dict(all_of_them.thinned),
        "bad": all_of_them.bad,
        "expired": dict(Counter(all_of_them.expired) + Counter(all_of_them.lost)),
        "waiting": all_of_them.waiting,
        "died_with_a_process": all_of_them.in_hand,
        "adds_up": all(account.adds_up for account in accounts),
        "stored": stored,
        "lost": house.lost_seen + lost,
        "stored_beyond_acked": unknown,
        "duplicated": duplicated,
        "boots": len(accounts),
        "boots_out_of_order": out_of_order,
        "without_boxes": without,
        "boxes_different": different,
    }


def _boxes(data: Path, camera: str, weights: Path) -> Counter[str]:
    """The stored boxes beside those of a detector that nobody disturbs."""
    settings = read_settings()
    detector = LayerDetector(load_weights(weights), threads=1, min_score=settings.min_score)
    counts: Counter[str] = Counter()
    with closing(SqliteFrameStore(data_files(data)[0], read_only=True)) as store:
        frames = store.frames(camera=camera, limit=10_000_000)
    last: dict[str, Coded] = {}
    for frame in sorted(frames, key=lambda f: (f.frame.boot, f.frame.seq)):
        boot = frame.frame.boot
        last[boot] = detector.read(frame.data, last[boot] if is_inter(frame.data) else None)
        [again] = detector.detect_read([last[boot]])
        if frame.boxes is None:
            counts["without"] += 1
        elif by_score(frame.boxes) != by_score(again.boxes):
            counts["different"] += 1
    return counts


def _spread(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {"median": round(ordered[len(ordered) // 2], 2), "most": round(ordered[-1], 2)}


def _plot(path: Path, recovery: Mapping[str, list[float]]) -> None:
    """Seconds from the end of each fault until every camera's new frames arrive."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 3.5))
    kinds = sorted(recovery)
    for row, kind in enumerate(kinds):
        axis.plot(recovery[kind], [row] * len(recovery[kind]), "o", alpha=0.5, color="tab:blue")
    axis.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axis.set_xlabel("seconds until every camera's new frames arrive again")
    axis.set_xlim(left=0)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
