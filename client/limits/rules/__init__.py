"""What a limit is and which keys a job comes under. Pure: nothing is asked, nothing is sent."""
