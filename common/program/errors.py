"""Errors that the user can fix, and short messages for exceptions from libraries."""


class UserError(Exception):
    """An error that the user can fix. Programs print the message without a traceback."""

    status = 2  # exit status of the program


def reason(error):
    """Return the last line of an exception's message, without additions by TensorFlow."""
    message = getattr(error, "message", None) or str(error) or type(error).__name__
    line = message.strip().splitlines()[-1]
    return line.split("}} ")[-1].split(" [Op:")[0].rstrip(". ")
