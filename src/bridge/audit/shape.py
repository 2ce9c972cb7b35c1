"""What an audit record keeps of a call's arguments, beside their hash. It knows no tool."""


def shape(value: object, depth: int = 0) -> object:
    """Names and kinds, never contents."""
    if isinstance(value, dict) and depth < 3:
        return {str(key)[:64]: shape(item, depth + 1) for key, item in list(value.items())[:32]}
    if isinstance(value, dict | list):
        return f"{type(value).__name__}({len(value)})"
    if isinstance(value, str):
        return f"text({len(value)})"
    return "null" if value is None else type(value).__name__
