"""The mind: turns in, events out. Stands on the bus; knows neither channels nor the gateway."""
