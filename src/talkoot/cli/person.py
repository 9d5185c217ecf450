"""How a person is called on a hub when they do not say it."""

import getpass


def user_name() -> str:
    """The name of the operating-system user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
