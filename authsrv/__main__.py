"""`python -m authsrv` is the program `authsrv`."""

from authsrv.shell.cli import main

if __name__ == "__main__":
    main()
