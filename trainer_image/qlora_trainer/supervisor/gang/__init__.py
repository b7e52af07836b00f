"""How the supervisors of a job agree: all start their ranks together, halt them together, and start them again.

The supervisor of pod 0 coordinates, the others ask it once a second. Each start of all ranks is an epoch; a fault of a
process alone begins a new epoch in the living pods, anything else ends the attempt and is the operator's.
"""
