"""`python -m terminal` is the program `authsrv-terminal`."""

from terminal.shell.cli import main

if __name__ == "__main__":
    main()
