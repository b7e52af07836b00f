"""`python -m qlora_trainer` is `qlora-trainer`."""

from qlora_trainer.cli import main

main()
