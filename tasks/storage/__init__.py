"""Storage: uris, local files and object stores, and the identity of processes."""
