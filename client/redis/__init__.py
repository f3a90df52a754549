"""The way to Redis: a URL, a pool of few connections, what its refusals mean."""
