"""What the demo and the end-to-end tests need before their first job: operator, volumes, model and data."""

from dev.demo.cluster import Cluster, find_cluster, install_operator
from dev.demo.prepare import HELD_OUT_DATA, MODEL, TRAINING_DATA, prepare
from dev.demo.volumes import create_volumes, load, start_loader


def set_up() -> Cluster:
    """Whatever is there already stays as it is. The loader pod is left running."""
    cluster = find_cluster()
    prepare()
    install_operator(cluster)
    create_volumes(cluster)
    start_loader(cluster)
    load(cluster, MODEL, "models")
    load(cluster, TRAINING_DATA, "data")
    load(cluster, HELD_OUT_DATA, "data")
    return cluster
