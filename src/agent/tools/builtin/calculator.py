"""`calculator`: arithmetic, exact where it can be, bounded everywhere.

An expression is parsed by Python's own parser and walked node by node: names, attributes and calls other than those
listed do not exist here. Whole numbers are bounded in bits before anything is computed.
"""

import ast
import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.events import JsonObject

Number: TypeAlias = int | float

MAX_CHARS = 1_000
MAX_BITS = 20_000
MAX_DIGITS_SHOWN = 4_000

_SIGNS = str.maketrans({"×": "*", "÷": "/", "−": "-", "（": "(", "）": ")", "，": ",", "＋": "+", "％": "%", "·": "*"})

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge, ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}  # fmt: skip
_NAMES: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs, "min": min, "max": max, "sqrt": math.sqrt, "exp": math.exp, "ln": math.log,
    "log": math.log, "log2": math.log2, "log10": math.log10, "sin": math.sin, "cos": math.cos, "tan": math.tan,
    "asin": math.asin, "acos": math.acos, "atan": math.atan, "atan2": math.atan2, "sinh": math.sinh,
    "cosh": math.cosh, "tanh": math.tanh, "degrees": math.degrees, "radians": math.radians, "floor": math.floor,
    "ceil": math.ceil, "gcd": math.gcd, "lcm": math.lcm, "hypot": math.hypot,
}  # fmt: skip
_COUNTING: dict[str, Callable[..., int]] = {"factorial": math.factorial, "comb": math.comb, "perm": math.perm}


class Calculator:
    """Evaluates one expression."""

    spec = ToolSpec(
        name="calculator",
        description=(
            "Evaluate an arithmetic expression, e.g. (2+3)*4^2, sqrt(2)*pi, factorial(20), 17 % 5, 1e3/7. "
            "Whole numbers are exact."
        ),
        input_schema={
            "type": "object",
            "properties": {"expression": {"type": "string", "maxLength": MAX_CHARS}},
            "required": ["expression"],
            "additionalProperties": False,
        },
        read_only=True,
        idempotent=True,
    )

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem where there is no result."""
        expression = str(call.arguments["expression"])
        return {"expression": expression, "result": shown(evaluate(expression))}


def evaluate(expression: str) -> Number | bool:
    """The value. Raises ToolProblem with the reason."""
    if len(expression) > MAX_CHARS:
        raise ToolProblem(f"The expression is longer than {MAX_CHARS} characters.")
    text = expression.translate(_SIGNS).replace("^", "**").strip().rstrip("=?？").strip()
    try:
        value: Number | bool = _value(ast.parse(text, mode="eval").body)
    except ZeroDivisionError:
        raise ToolProblem("Division by zero.") from None
    except (OverflowError, MemoryError):
        raise ToolProblem("The result is too large.") from None
    except RecursionError:
        raise ToolProblem("The expression is nested too deeply.") from None
    except SyntaxError:
        raise ToolProblem(f"“{expression[:100]}” is not an arithmetic expression.") from None
    except (ValueError, TypeError) as error:
        raise ToolProblem(f"That has no value: {error}.") from None
    return value


def _value(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=bool() | int() | float()):
            return _bounded(node.value)
        case ast.Name(id=name) if name in _NAMES:
            return _NAMES[name]
        case ast.UnaryOp(op=sign, operand=inner) if type(sign) in _UNARY:
            return _UNARY[type(sign)](_value(inner))
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            return _power(_value(left), _value(right))
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _bounded(_BINARY[type(sign)](_value(left), _value(right)))
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _COMPARE:
            return _COMPARE[type(sign)](_value(left), _value(right))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _bounded(_call(name, [_value(argument) for argument in arguments]))
    raise ToolProblem(f"“{ast.unparse(node)[:60]}” is not something the calculator knows.")


def _call(name: str, arguments: list[Any]) -> Any:
    if name in _COUNTING:
        if any(not isinstance(argument, int) or argument > 2_000 for argument in arguments):
            raise ToolProblem(f"{name} takes whole numbers up to 2000.")
        return _COUNTING[name](*arguments)
    if name == "pow" and len(arguments) == 2:
        return _power(*arguments)
    if name == "round":
        return _round(*arguments)
    if name not in _FUNCTIONS:
        known = ", ".join(sorted([*_FUNCTIONS, *_COUNTING, "pow", "round"]))
        raise ToolProblem(f"There is no function “{name[:40]}”. There are: {known}.")
    return _FUNCTIONS[name](*arguments)


def _power(base: Number, exponent: Number) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and abs(base) > 1:
        if abs(exponent) * base.bit_length() > MAX_BITS:
            raise ToolProblem("The result is too large.")
    elif isinstance(exponent, int) and abs(exponent) > 10**9 and isinstance(base, int):
        exponent = exponent % 2 or 2  # of 0, 1 and -1
    return _bounded(base**exponent)


def _round(value: Number, digits: int | None = None) -> Any:
    """Rounding a whole number to `-digits` places makes ten to that power first: minutes of the house's time."""
    if isinstance(digits, int) and abs(digits) > MAX_DIGITS_SHOWN:
        raise ToolProblem(f"round takes at most {MAX_DIGITS_SHOWN} places.")
    return round(value, digits)


def _bounded(value: Any) -> Any:
    if isinstance(value, complex):
        raise ToolProblem("The result is not a real number.")
    if isinstance(value, int) and value.bit_length() > MAX_BITS:
        raise ToolProblem("The result is too large.")
    return value


def shown(value: Number | bool) -> Any:
    """A value as JSON can hold it exactly: large whole numbers and odd floats as text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if abs(value) < 2**53 else _digits(value)
    if math.isfinite(value):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    raise ToolProblem("The result is too large.")


def _digits(value: int) -> str:
    if value.bit_length() * 0.302 > MAX_DIGITS_SHOWN:
        raise ToolProblem(f"The result has more than {MAX_DIGITS_SHOWN} digits.")
    return str(value)
