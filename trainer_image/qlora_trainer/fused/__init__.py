"""The fast training step: a LoRA linear as one operation, and around it as little memory traffic as possible.

`choice` decides for a job between PEFT's own modules, `generic` (PEFT's module tree, whose slow parts are replaced) and
`decoder` (one compiled layer for the families that `description` knows). All give the same loss and gradients, and none
changes a parameter's name.
"""
