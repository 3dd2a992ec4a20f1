"""Where bytes lie: uris, local files and object stores, and which process holds what."""
