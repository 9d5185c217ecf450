"""A whole network in one process on virtual time, running the real core and the real hub, from one seed."""
