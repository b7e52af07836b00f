"""Which watch events lead to a look at a job, and when."""

from __future__ import annotations

import asyncio

from builders import child_body, job_body, pod_body, stored
from qlora_operator.controller import GATHERING, Controller
from qlora_operator.settings import parse_arguments
from qlora_operator.views import POD, QLORA_JOB, SERVICE, resource_view

KEY = ("default", "job")


async def test_a_new_job_is_looked_at_at_once() -> None:
    controller = Controller(parse_arguments([]))
    controller.see(QLORA_JOB, "ADDED", stored(job_body()))
    assert len(controller.queue) == 1


async def test_the_event_of_our_own_write_needs_no_look() -> None:
    controller = Controller(parse_arguments([]))
    body = stored(job_body(), version=5, status={"phase": "Running"})
    controller.cache.put(QLORA_JOB, resource_view(body))
    controller.see(QLORA_JOB, "MODIFIED", body)
    assert len(controller.queue) == 0


async def test_the_end_of_a_child_is_looked_at() -> None:
    controller = Controller(parse_arguments([]))
    controller.cache.put(SERVICE, SERVICE.view(child_body("Service", "job")))
    controller.see(SERVICE, "DELETED", child_body("Service", "job"))
    assert await controller.queue.get() == KEY


async def test_news_of_pods_is_gathered() -> None:
    controller = Controller(parse_arguments([]))
    controller.see(POD, "ADDED", pod_body(0, phase="Pending"))
    assert len(controller.queue) == 0
    await asyncio.sleep(GATHERING / 2)
    controller.see(POD, "ADDED", pod_body(1, phase="Pending"))
    assert await asyncio.wait_for(controller.queue.get(), GATHERING) == KEY
    controller.queue.done(KEY)
    await asyncio.sleep(2 * GATHERING)
    assert len(controller.queue) == 0, "one look at both"
