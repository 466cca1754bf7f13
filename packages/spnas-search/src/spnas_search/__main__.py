"""``python -m spnas_search``: the ``spnas`` command where its script is not on the path."""

from spnas_search.cli import main

if __name__ == "__main__":
    main()
