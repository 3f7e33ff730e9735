"""What every command-line program needs: flags, signals, start-up, error messages and files."""
