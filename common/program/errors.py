"""Errors that the user can fix, and the messages of exceptions that libraries raise."""


class UserError(Exception):
    """An error that the user can fix. A program prints its message without a traceback."""

    status = 2  # exit status of the program


def reason(error):
    """Return the last line of an exception's message, without what TensorFlow adds to it."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = message.strip().splitlines()[-1]
    return line.split("}} ")[-1].split(" [Op:")[0].rstrip(". ")
