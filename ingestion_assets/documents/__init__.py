"""Documents: from files in many sources to chunks that can be searched."""
