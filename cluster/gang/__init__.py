"""Gangs: one program on several workers at once; if one rank fails, all start again from their checkpoint.

run_gang           the door: choose workers, try, try again
attempt            ranks that are started together, followed, and killed together
rank               one rank: a task on a worker that runs the program in a disposable child process
die_with_parent    first thing in that process: it ends with its worker
"""
