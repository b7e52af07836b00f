"""`make demo`: fine-tunes a small model on two nodes, and talks to it without and with what it has learnt."""

import time

from dev.demo.job import follow_job, report, start_job
from dev.demo.set_up import set_up
from dev.demo.volumes import remove_loader


def main() -> None:
    started = time.monotonic()
    cluster = set_up()
    start_job(cluster)
    follow_job(cluster)
    report(cluster)
    remove_loader(cluster)
    print(f"\nThe whole demo: {time.monotonic() - started:.0f} s.")
    if cluster.is_local:
        print(f"The cluster runs on: export KUBECONFIG={cluster.kubeconfig}; `make cluster-down` ends it.")


if __name__ == "__main__":
    main()
