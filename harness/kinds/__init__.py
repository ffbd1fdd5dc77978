"""The kinds of runs: training, counting multiply-adds, timing."""
