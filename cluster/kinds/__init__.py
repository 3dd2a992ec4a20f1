"""Kinds of clusters, one a file: its options, how it opens, what failed to start.

To add a kind, write a file with a subclass of `spec.ClusterSpec` and add its line to `registry.KINDS`. Another package
does it by an entry point of the group `patchlake.clusters`: its name is the kind, its value `module:Class`.

registry    kind -> class; from a recipe's `cluster:` to its checked options
remote      options shared by the kinds that start workers on other machines
local       processes on this machine
address     a scheduler that runs already
jobqueue    jobs of Slurm, PBS, LSF, SGE, OAR, Moab, HTCondor; `job_script` says what is in a job
ssh         processes on hosts that SSH reaches; `ssh_worker` is one of them
custom      any Dask cluster class, by its dotted path
"""
