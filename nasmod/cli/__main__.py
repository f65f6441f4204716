"""`python -m nasmod.cli` is the command `nasmod`."""

from nasmod.cli import main

if __name__ == "__main__":
    main()
