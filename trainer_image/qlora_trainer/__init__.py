"""What runs in the pods: `fetch` checks and brings the sources, `supervisor` starts DeepSpeed, `rank` trains."""
