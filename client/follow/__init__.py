"""One connection that tells of results and of streams, for all who wait in this process."""
