"""Tools in the cloud, and what every call passes on its way: schema, executor, registry."""
