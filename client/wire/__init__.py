"""What is on the wire and in Redis: requests and answers, events, keys, and how they are written."""
