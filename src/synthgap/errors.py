"""The one exception that a user's mistake raises."""


class UserError(Exception):
    """Bad input from the user: a file, a config key or an option.

    The message is one sentence or two that name the file or key, say what is wrong and what
    would be right. Commands print it without a stack trace and exit with status 1.
    """
