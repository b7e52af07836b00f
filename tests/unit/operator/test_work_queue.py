from __future__ import annotations

import asyncio

import pytest
import uvloop

from qlora_operator.work_queue import WorkQueue


async def test_a_key_added_twice_is_handed_out_once() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_keys_come_in_the_order_in_which_they_were_added() -> None:
    queue: WorkQueue[str] = WorkQueue()
    for key in "bca":
        queue.add(key)
    assert [await queue.get() for _ in range(3)] == ["b", "c", "a"]


async def test_a_key_is_worked_on_by_one_worker_at_a_time_and_looked_at_again() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.get(), 0.01)
    queue.done("a")
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_a_waiting_worker_is_woken() -> None:
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add("a")
    assert await asyncio.wait_for(worker, 1) == "a"


async def test_the_earlier_of_two_appointments_stands() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add_after("a", 0.01)
    queue.add_after("a", 60)
    assert await asyncio.wait_for(queue.get(), 1) == "a"
    queue.done("a")
    queue.add_after("a", 60)
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(queue.get(), 1) == "a"


async def test_the_delay_after_failures_grows_and_starts_anew_after_success() -> None:
    queue: WorkQueue[str] = WorkQueue()
    delays = []
    for _ in range(12):
        queue.add("a")
        await queue.get()
        delays.append(queue.failed("a"))
    assert 0.25 <= delays[0] <= 0.5
    assert 30 <= delays[-1] <= 60
    queue.add("a")
    await queue.get()
    queue.done("a")
    queue.add("a")
    await queue.get()
    assert queue.failed("a") <= 0.5


async def test_the_server_s_wish_outweighs_the_back_off() -> None:
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    assert queue.failed("a", at_least=17) == 17


async def test_the_age_is_that_of_the_oldest_key_not_yet_looked_at() -> None:
    now = 0.0
    queue: WorkQueue[str] = WorkQueue(clock=lambda: now)
    assert queue.oldest_age() == 0
    queue.add("a")
    now = 5.0
    queue.add("b")
    assert queue.oldest_age() == 5
    await queue.get()
    now = 6.0
    assert queue.oldest_age() == 1


def test_an_appointment_for_now_is_kept_at_once_whatever_the_event_loop() -> None:
    async def appoint() -> str:
        queue: WorkQueue[str] = WorkQueue()
        queue.add_after("a", 0)
        queue.add_after("a", 1)
        return await asyncio.wait_for(queue.get(), 0.5)

    assert uvloop.run(appoint()) == "a"
