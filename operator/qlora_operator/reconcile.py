"""One look at one job: observe, plan, create what is missing, write status, post events."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from qlora_api import names
from qlora_api.status import Condition, Phase, QLoRAJobStatus
from qlora_operator.apply import NAMESPACE_TERMINATING, create_children, withdraw_children
from qlora_operator.builders import PodDefaults
from qlora_operator.cache import Cache
from qlora_operator.cluster import ApiError, Cluster
from qlora_operator.counting import count
from qlora_operator.events import build_event
from qlora_operator.merge_patch import merge_patch
from qlora_operator.nodes import Nodes
from qlora_operator.observe import observe, queued_job, silent_nodes
from qlora_operator.plan import Decision, Observation, Plan, lacks_last_words, make_plan, plan_problem
from qlora_operator.plan.start import PODS_REQUESTED, PREDECESSOR_LEAVES, PREDECESSOR_RETRY
from qlora_operator.progress import ProgressPoller
from qlora_operator.views import JOB, POD, QLORA_JOB, Key, pod_view, resource_view
from qlora_operator.workloads import Workloads

log = logging.getLogger(__name__)

PROBLEM_RETRY = 30.0
CONFLICT_RETRY = 0.2
AT_ONCE = 0.0
"""After a write: another plan may follow from the new status, and the watch will tell nothing new of it."""
SILENT_NODE_RETRY = 5.0


class Reconciler:
    """Brings jobs from what they are to what they should be. Keeps no state of its own."""

    def __init__(
        self,
        cluster: Cluster,
        cache: Cache,
        poller: ProgressPoller,
        defaults: PodDefaults,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._cache = cache
        self._poller = poller
        self._nodes = Nodes(cluster)
        self._workloads = Workloads(cluster)
        self._defaults = defaults
        self._clock = clock

    async def reconcile(self, key: Key) -> float | None:
        """Looks at a job once; returns the seconds after which to look again, if no event will tell.

        Raises:
            ApiError: a request failed; look again later.
        """
        silent = silent_nodes(self._cache, key)
        lost = await self._nodes.lost(silent)
        words = await self._workloads.words(key, queued_job(self._cache, key))
        observation = self._observe(key, lost, words)
        if observation is not None and lacks_last_words(observation):
            await self._read_pods(observation)
            observation = self._observe(key, lost, words)
        if observation is None:
            self._poller.forget(key)
            return None
        plan = await self._create(observation, make_plan(observation))
        patch = merge_patch(observation.status.to_json(), plan.status.to_json())
        if patch and not await self._write_status(observation, plan, patch):
            return CONFLICT_RETRY
        await self._delete(observation, plan)
        await self._post_events(observation, plan)
        self._poll(observation, plan)
        return AT_ONCE if patch else _sooner(plan.requeue_after, SILENT_NODE_RETRY if silent else None)

    def _observe(self, key: Key, lost_nodes: frozenset[str], queue_words: str | None) -> Observation | None:
        heard, now = self._poller.heard(key), self._clock()
        return observe(self._cache, key, heard, self._defaults, now, lost_nodes, queue_words)

    async def _read_pods(self, observation: Observation) -> None:
        """Reads the pods of the attempt as they are now."""
        metadata = observation.resource.metadata
        selector = f"{names.LABEL_JOB_UID}={metadata.uid},{names.LABEL_ATTEMPT}={observation.attempt}"
        pods, _ = await self._cluster.list(POD, metadata.namespace, selector)
        for pod in pods:
            self._cache.put(POD, pod_view(pod))

    async def _create(self, observation: Observation, plan: Plan) -> Plan:
        """Creates what is missing; a refusal of the API server makes another plan."""
        if not plan.create:
            return plan
        accepted = observation.status.condition("Accepted")
        refused_before = accepted is not None and accepted.status == "False"
        problem = await create_children(self._cluster, self._cache, plan.create, rehearse=refused_before)
        if problem is None:
            return plan
        if problem.reason == NAMESPACE_TERMINATING:
            resource = observation.resource
            self._cache.replace(QLORA_JOB, replace(resource, metadata=replace(resource.metadata, deleting=True)))
            return Plan(decision=None, status=observation.status)
        phase = Phase(observation.status.phase or Phase.PENDING)
        if problem.reason == PREDECESSOR_LEAVES:
            wait = Decision(phase, problem.reason, problem.message, requeue_after=PREDECESSOR_RETRY)
            return plan_problem(observation, wait)
        refusal = Decision(
            phase,
            problem.reason,
            problem.message,
            accepted=False,
            withdraw=plan.decision is not None and plan.decision.create,
            requeue_after=PROBLEM_RETRY,
        )
        return plan_problem(observation, refusal)

    async def _delete(self, observation: Observation, plan: Plan) -> None:
        decision = plan.decision
        if decision is None:
            return
        resource = observation.resource
        if decision.withdraw:
            uid = resource.metadata.uid
            await withdraw_children(self._cluster, self._cache, resource.key, uid, observation.attempt)
        for job in decision.delete_jobs:
            metadata = job.metadata
            await self._cluster.delete(JOB, metadata.namespace, metadata.name, metadata.uid)
            self._cache.remove(JOB, job)  # the event of its deletion may come late, or never
        for pod in decision.force_delete:
            metadata = pod.metadata
            log.warning("node %s of pod %s is lost; deleting the pod by force", pod.node, metadata.name)
            if await self._cluster.delete(POD, metadata.namespace, metadata.name, metadata.uid, grace_period=0):
                self._cache.replace(POD, replace(pod, forced=True))
            else:
                self._cache.remove(POD, pod)
        if decision.delete_resource:
            metadata = resource.metadata
            await self._cluster.delete(QLORA_JOB, metadata.namespace, metadata.name, metadata.uid)

    async def _write_status(self, observation: Observation, plan: Plan, patch: dict[str, Any]) -> bool:
        """Writes what differs, in one patch; False if the resource has changed meanwhile, or is gone."""
        metadata = observation.resource.metadata
        body = {"metadata": {"resourceVersion": str(metadata.resource_version)}, "status": patch}
        try:
            written = await self._cluster.patch_status(QLORA_JOB, metadata.namespace, metadata.name, body)
        except ApiError as error:
            if error.status == 404:
                self._cache.remove(QLORA_JOB, observation.resource)
                return False
            if error.status == 409:
                return False
            raise
        self._cache.put(QLORA_JOB, resource_view(written))
        _log_turn(observation.status, plan.status)
        count(observation.status, plan.status)
        return True

    async def _post_events(self, observation: Observation, plan: Plan) -> None:
        resource = observation.resource
        for note in plan.events:
            await self._cluster.create_event(resource.metadata.namespace, build_event(resource, note, observation.now))

    def _poll(self, observation: Observation, plan: Plan) -> None:
        key = observation.resource.key
        first = observation.first_pod
        if plan.polls and first is not None and first.ip is not None:
            self._poller.watch(key, observation.resource.metadata.uid, observation.attempt, first.ip)
        else:
            self._poller.forget(key)


def _sooner(*times: float | None) -> float | None:
    return min((time for time in times if time is not None), default=None)


def _log_turn(before: QLoRAJobStatus, after: QLoRAJobStatus) -> None:
    """One line for each change of phase, and of what a job waits for."""
    phase, told = after.phase, _told(after)
    was = _told(before)
    if told is None or (phase == before.phase and was is not None and was.reason == told.reason):
        return
    waits_in_vain = phase in (Phase.PENDING, Phase.STARTING) and told.reason != PODS_REQUESTED
    level = logging.WARNING if waits_in_vain or phase in (Phase.FAILED, Phase.RESTARTING) else logging.INFO
    attempt = after.attempts[-1].number if after.attempts else None
    extra = {"phase": phase, "reason": told.reason, "attempt": attempt}
    log.log(level, "phase %s: %s: %s", phase, told.reason, told.message, extra=extra)


def _told(status: QLoRAJobStatus) -> Condition | None:
    """The condition that says most about a job."""
    accepted = status.condition("Accepted")
    refused = accepted if accepted is not None and accepted.status == "False" else None
    return refused or status.condition("Failed") or status.condition("Running")
