"""Everything of ours that has no name of its own at the top: the commands, the simulator, the dialects."""
