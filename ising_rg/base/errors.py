"""The one exception for what a user can put right: it says what was found, what is needed and what to run."""


class UserError(Exception):
    """A user's mistake or missing input; scripts print the message without a traceback and exit with status 2."""
