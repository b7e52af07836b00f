"""The job of the demo: applied, followed to its end, and asked what it has learnt."""

import json
import textwrap
import time

import yaml
from dev.demo.cluster import Cluster
from dev.demo.paths import JOB
from dev.demo.progress import Step, step
from dev.demo.volumes import NAMESPACE, in_loader, pod_spec

NAME = "smollm2-chat"
FOLDER = f"/volumes/results/{NAME}"
SECONDS_BETWEEN_LOOKS = 2
PODS = f"qlora.dev/job={NAME}"
# From heldout.jsonl: the training has not seen them.
QUESTIONS = ["Can you breathe", "What is a super computer?", "You are jealous"]


def start_job(cluster: Cluster) -> None:
    with step("Removing what an earlier demo left"):
        cluster.kubectl("delete", "qlorajob", NAME, "--namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
        cluster.kubectl("wait", "pod", "--namespace", NAMESPACE, "--selector", PODS, "--for=delete", "--timeout=3m")
        in_loader(cluster, "rm", "-rf", FOLDER)
    print(JOB.read_text())
    cluster.kubectl("apply", "--namespace", NAMESPACE, "--filename", JOB)


def follow_job(cluster: Cluster) -> None:
    with step("Fine-tuning") as current:
        while True:
            job = json.loads(cluster.kubectl("get", "qlorajob", NAME, "--namespace", NAMESPACE, "--output", "json"))
            phase = job.get("status", {}).get("phase") or "Pending"
            if phase == "Succeeded":
                return
            if phase == "Failed":
                break
            current.detail(describe(cluster, phase, job["status"]) if "status" in job else phase)
            time.sleep(SECONDS_BETWEEN_LOOKS)
    explain_failure(cluster, job["status"])


def describe(cluster: Cluster, phase: str, status: dict) -> str:
    progress = status.get("progress")
    if progress is None:
        return f"{phase} ({pod_states(cluster)})"
    loss = f"{progress['loss']:.3f}" if progress.get("loss") is not None else "-"
    return f"{phase}, step {progress['position']}, loss {loss}, {progress.get('eta') or '?'} to go"


def pod_states(cluster: Cluster) -> str:
    pods = json.loads(cluster.kubectl("get", "pods", "--namespace", NAMESPACE, "--selector", PODS, "--output", "json"))
    return ", ".join(pod_state(pod) for pod in pods["items"]) or "no pods yet"


def pod_state(pod: dict) -> str:
    """Such as `smollm2-chat-1-0: fetch running`: what holds the pod up, or what it does."""
    status, name = pod["status"], pod["metadata"]["name"]
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        if waiting := container["state"].get("waiting"):
            return f"{name}: {waiting['reason']}"
        if "running" in container["state"]:
            return f"{name}: {container['name']} running"
    return f"{name}: {status['phase']}"


def explain_failure(cluster: Cluster, status: dict) -> None:
    for condition in status.get("conditions", []):
        print(f"{condition['type']}={condition['status']} {condition['reason']}: {condition.get('message', '')}")
    log = ["logs", "--namespace", NAMESPACE, "--selector", PODS, "--all-containers", "--prefix", "--tail=30"]
    print(cluster.kubectl(*log))
    raise SystemExit(f"The job has failed: kubectl describe qlorajob {NAME} --namespace {NAMESPACE}")


def report(cluster: Cluster) -> None:
    lines = in_loader(cluster, "cat", f"{FOLDER}/log.jsonl").splitlines()
    steps = [row for row in map(json.loads, lines) if "loss" in row]
    first, last = steps[0], steps[-1]
    print()
    print(cluster.kubectl("get", "qlorajobs", "--namespace", NAMESPACE))
    print(f"Loss: {first['loss']:.3f} at step {first['step']}, {last['loss']:.3f} at step {last['step']}.")
    print(f"Adapter: {FOLDER.replace('/volumes/', 'pvc://')}/adapter in namespace {NAMESPACE}.")
    print("\nQuestions that the training has not seen:")
    for answer in ask(cluster):
        print()
        print_wrapped("Question", answer["question"])
        print_wrapped("  without the adapter", answer["base"])
        print_wrapped("  with the adapter", answer["adapter"])


def ask(cluster: Cluster) -> list[dict[str, str]]:
    command = [
        "qlora-trainer",
        "ask",
        "--model",
        "/volumes/models/SmolLM2-135M-Instruct",
        "--adapter",
        f"{FOLDER}/adapter",
    ]
    for question in QUESTIONS:
        command += ["--question", question]
    spec = {"backoffLimit": 0, "template": {"spec": pod_spec(cluster, command)}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "ask", "namespace": NAMESPACE}, "spec": spec}
    with step("Asking the model, without and with the adapter") as current:
        cluster.kubectl("delete", "job", "ask", "--namespace", NAMESPACE, "--ignore-not-found", "--wait=true")
        cluster.apply(yaml.safe_dump(job))
        wait_for_answers(cluster, current)
    lines = cluster.kubectl("logs", "job/ask", "--namespace", NAMESPACE).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def wait_for_answers(cluster: Cluster, current: Step) -> None:
    while True:
        counts = json.loads(cluster.kubectl("get", "job", "ask", "--namespace", NAMESPACE, "--output", "json"))[
            "status"
        ]
        if counts.get("succeeded"):
            return
        if counts.get("failed"):
            raise SystemExit(f"No answers: {cluster.kubectl('logs', 'job/ask', '--namespace', NAMESPACE)}")
        current.detail("working")
        time.sleep(SECONDS_BETWEEN_LOOKS)


def print_wrapped(title: str, text: str) -> None:
    print(textwrap.fill(f"{title}: {text}", width=110, subsequent_indent="      "))
