"""`python -m qlora_operator`."""

from qlora_operator.main import main

if __name__ == "__main__":
    main()
