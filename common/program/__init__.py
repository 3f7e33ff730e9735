"""Code that all command-line programs use: flags, signals, start-up, error messages and files."""
