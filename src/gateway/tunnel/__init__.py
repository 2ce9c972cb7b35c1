"""The gateway's end of the reverse tunnel: the endpoint, who has which bridges, and their tools for the agent."""
