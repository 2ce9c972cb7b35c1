"""What it costs, as ratios within one run. `make bench` runs it all and writes `bench/results.json`."""
