"""From a file to timed frames: probing and decoding in a child process."""
