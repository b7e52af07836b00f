"""`qlora`, the command for people: `qlora run` trains the file of a QLoRAJob on this machine, without a cluster.

`check` is the API server's part, `attempts` the operator's; the pods are processes.
"""
