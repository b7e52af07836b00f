"""The operator: watches QLoRAJobs, creates their children, writes their status.

An event travels `handlers` -> `work_queue` -> `reconcile`, which observes the `cache`, asks `plan` what to do,
and lets `cluster` do it. `plan` and `builders` are pure.
"""
