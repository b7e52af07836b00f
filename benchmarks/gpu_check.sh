#!/bin/bash
# The fast training step on this machine's GPU: each line begins with ok or FAILED; 1 if any has failed.
# It uses the Python on PATH, which has the trainer's libraries. About two minutes.
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH=$PWD/crds:$PWD/trainer_image:$PWD${PYTHONPATH:+:$PYTHONPATH}
failed=0
for module in benchmarks.fused_operations benchmarks.gradients; do
  python -W ignore -m "$module" || failed=1
done
[ "$failed" = 0 ] && echo "ok      all of it" || echo "FAILED  some of it"
exit "$failed"
