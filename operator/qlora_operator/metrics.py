"""What the operator tells Prometheus of itself."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

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
RESTARTS = Counter("qlora_operator_restarts", "Attempts that ended and are followed by another.", ["reason"])
LOST_STEPS = Counter("qlora_operator_lost_steps", "Optimizer steps that had to be done again.", ["reason"])
JOBS_FINISHED = Counter("qlora_operator_jobs_finished", "Jobs that ended.", ["phase", "reason"])
