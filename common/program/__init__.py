"""Code of every command-line program: flags, signals, start-up, error messages and files."""
