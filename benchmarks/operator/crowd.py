"""The first pods of many jobs, which answer to their operator and stand still: fake nodes run no trainer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.operator.stage import Stage

from qlora_api import names
from qlora_operator.views import POD, QLORA_JOB
from support.jobs import MERGE_PATCH, JobDriver
from support.talking_pods import TalkingPod, first_figures

STEP_SECONDS = 600.0
"""A step takes so long that none ends while the crowd is there, and that nobody takes it for a hang."""


@contextmanager
def first_pods_stand_still(stage: Stage) -> Iterator[list[TalkingPod]]:
    """Gives each first pod a loopback address of its own and serves `/status` there."""
    namespace = stage.ours.namespace
    uids = {job["metadata"]["name"]: job["metadata"]["uid"] for job in stage.items(QLORA_JOB.path(namespace))}
    pods: dict[str, TalkingPod] = {}
    addresses: dict[str, str] = {}
    for number, pod in enumerate(stage.items(POD.path(namespace) + f"?labelSelector={names.LABEL_COMPLETION_INDEX}=0")):
        address = f"127.1.{number // 250}.{number % 250 + 1}"
        figures = first_figures(uids[pod["metadata"]["labels"][names.LABEL_JOB]], attempt=1)
        pods[address] = TalkingPod({**figures, "stepSeconds": STEP_SECONDS})
        addresses[pod["metadata"]["name"]] = address
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(_serve(pods))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    driver = JobDriver(stage.plane, namespace)
    try:
        stage.at_once(lambda name: _move(driver, name, addresses[name]), addresses)
        yield list(pods.values())
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


def _move(driver: JobDriver, pod: str, address: str) -> None:
    driver.patch_status(POD, pod, {"podIP": address, "podIPs": [{"ip": address}]}, MERGE_PATCH)


async def _serve(pods: dict[str, TalkingPod]) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = pods[writer.get_extra_info("sockname")[0]].answer()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, list(pods), names.STATUS_PORT)
