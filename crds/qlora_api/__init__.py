"""The QLoRAJob API in one place: what operator, trainer and command line share.

`spec` and `status` are the custom resource, `crd` writes its YAML, `names` holds labels and child names,
`job_file` is what the operator hands to the pods and `report` is what the pods hand back.
"""
