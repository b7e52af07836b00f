"""Where the demo finds and leaves things."""

from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
CLUSTER = ROOT / ".cluster"
CACHE = CLUSTER / "cache" / "demo"
VOLUMES = CLUSTER / "volumes"
KUBECONFIG = CLUSTER / "kubeconfig"
CHART = ROOT / "helm" / "qlora-operator"
JOB = ROOT / "examples" / "smollm2-chat.yaml"
