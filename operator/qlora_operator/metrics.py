"""What the operator counts for Prometheus. `collectors` adds what is read off when Prometheus asks.

`docs/metrics.md` lists all of it; a test keeps the two alike.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for every counter, which nobody asks for

API_REQUESTS = Counter(
    "qlora_operator_api_requests",
    "Requests to the API server, watches not counted.",
    ["verb", "resource", "code"],
)
RECONCILE_SECONDS = Histogram(
    "qlora_operator_reconcile_seconds",
    "Time to look at one job once.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30),
)
RECONCILE_ERRORS = Counter("qlora_operator_reconcile_errors", "Looks at a job that ended in an error.")
PROGRESS_POLLS = Counter("qlora_operator_progress_polls", "Questions to pods about their progress.", ["result"])
JOBS_FINISHED = Counter("qlora_operator_jobs_finished", "Jobs that ended.", ["phase", "reason"])
RESTARTS = Counter(
    "qlora_operator_restarts", "Restarts of jobs: a new attempt, or in place within one.", ["kind", "reason"]
)
LOST_STEPS = Counter("qlora_operator_lost_steps", "Optimizer steps that had to be done again.", ["reason"])
LOST_SECONDS = Counter(
    "qlora_operator_lost_seconds",
    "Time that did not bring a job forward: down without steps, or repeated steps.",
    ["kind", "reason"],
)
TRAINED_SECONDS = Counter(
    "qlora_operator_trained_seconds",
    "Time between an attempt's first and last step, repeated steps included.",
)
LEADER = Gauge("qlora_operator_leader", "1 while this replica works, 0 while it stands by.")
