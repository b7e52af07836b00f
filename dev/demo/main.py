"""`make demo`: fine-tunes a small model on two nodes, and talks to it without and with what it has learnt."""

import time

from dev.demo.cluster import find_cluster, install_operator
from dev.demo.job import follow_job, report, start_job
from dev.demo.prepare import HELD_OUT_DATA, MODEL, TRAINING_DATA, prepare
from dev.demo.volumes import create_volumes, load, remove_loader, start_loader


def main() -> None:
    started = time.monotonic()
    cluster = find_cluster()
    prepare()
    install_operator(cluster)
    create_volumes(cluster)
    start_loader(cluster)
    load(cluster, MODEL, "models")
    load(cluster, TRAINING_DATA, "data")
    load(cluster, HELD_OUT_DATA, "data")
    start_job(cluster)
    follow_job(cluster)
    report(cluster)
    remove_loader(cluster)
    print(f"\nThe whole demo: {time.monotonic() - started:.0f} s.")
    if cluster.is_local:
        print(f"The cluster runs on: export KUBECONFIG={cluster.kubeconfig}; `make cluster-down` ends it.")


if __name__ == "__main__":
    main()
