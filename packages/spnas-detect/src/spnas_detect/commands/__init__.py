"""What detection adds to the ``spnas`` command: thin layers over documented calls."""
