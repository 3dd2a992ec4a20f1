"""Where work runs: clusters of workers, jobs and GPUs. It knows nothing of video.

connect            the door: `with connect(spec) as cluster`, then `cluster.run(function, items)`
run_items          one call of a function over items: window, retries, outcomes
spec, strict       options that all kinds share, and what a kind must do
kinds/             one kind a file; `kinds.registry.parse` reads a recipe's `cluster:`
flight             what runs and gangs share: connection, workers, supervise, incidents, window
resources, gpus    what workers offer and what this machine has
worker/            what runs inside worker processes; `patchlake worker`
gang/              one program on several workers at once, for training
scheduler          `patchlake scheduler`
coordinator_job    a run's coordinator as a job of the queue
settings, tls, performance, parsing, errors
dask_internals     every private name of Dask that is used, with the versions it was seen in
"""
