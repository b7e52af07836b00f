"""`python -m qlora_trainer.rank`: what DeepSpeed's launcher starts."""

from qlora_trainer.rank.main import main

main()
