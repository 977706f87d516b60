"""`python -m needle_parsl` is `needle`."""

from needle_parsl.cli import main

if __name__ == "__main__":
    main()
