"""`python -m segue`."""

from segue.startup.compose import main

if __name__ == "__main__":
    main()
