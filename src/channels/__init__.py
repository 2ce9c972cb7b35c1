"""One adapter per place where people talk. Stands on the bus; knows neither the agent nor the gateway."""
