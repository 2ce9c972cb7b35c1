"""The built-in tools: clock, calculator, web_fetch, web_search, memory, schedule, skill."""
