"""What runs inside worker processes, and the program that starts them.

program        `patchlake worker`: starts workers, waits for an end, hands back
options        what that program is given
perform        one item at a time; the caller's setup, once
leave          whether an item may still start before the job ends; leaving in time
versions       versions that workers and coordinator share
cuda_errors    errors after which a worker has to be replaced
"""
