"""From a file to frames with times: probing and decoding in a child process."""
