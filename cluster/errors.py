"""Errors of clusters; each is a sentence: what was given, what was expected, what to do."""


class ClusterError(Exception):
    """The cluster can't be started or reached, or can't do what is asked of it."""


class GangError(ClusterError):
    """A group of ranks failed more often than it may be restarted."""


class GangStopped(GangError):
    """The group of ranks was ended because the run is stopping."""
