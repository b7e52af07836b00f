"""`spec.runPolicy`: restarts, deadlines, suspension and clean-up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from qlora_api.base import ApiModel
from qlora_api.spec.texts import Duration, DurationOrZero


class RunPolicySpec(ApiModel):
    """How the job is run, stopped and cleaned up. It can be changed while the job runs."""

    suspend: bool = False
    """Stop after a checkpoint and give the pods back; set to false to go on from there."""
    max_restarts: Annotated[int, Field(ge=0, le=1000)] = 3
    """New attempts and restarts in place after failures of the job itself. Preemption, eviction and lost nodes are not
    counted."""
    max_disruptions: Annotated[int, Field(ge=0, le=1000)] = 10
    """New attempts an hour after preemption, eviction and lost nodes."""
    start_deadline: Duration = "1h"
    """Time within which all pods of an attempt must run, such as 10m; afterwards the job fails and frees its nodes.
    Time in a queue is not counted."""
    active_deadline: Duration | None = None
    """Time from the first start within which the job must end, such as 24h. Time in a queue, or suspended, is not
    counted. Default: no such limit."""
    ttl_after_finished: DurationOrZero | None = None
    """Time after its end at which the job is deleted, such as 7d; the output stays. Default: never."""
    clean_pods: Literal["Running", "All", "None"] = "Running"
    """Pods that are deleted when the job ends. Running: only those that still run, so that logs stay; All; None."""
    replace_pods_of_lost_nodes: bool = True
    """Delete pods by force when their node does not answer, so that the job can go on elsewhere. An old trainer that
    still runs there can write no checkpoint any more."""
