"""`qlora-trainer run`, PID 1 of the pod: starts DeepSpeed, watches over the ranks and says how it ended.

It never imports torch: it has to start fast, stay small, and live on when the ranks run out of memory.
"""
