"""The arithmetic of countdown: whether an expression uses each number once and makes the target, without running it.

makes(expression(r"(7 - 3) \\times 8 = 32", Value(Fraction(32))), [3, 7, 8], Fraction(32))  ->  True
"""

import ast
import operator
import re
from fractions import Fraction

from eval.checking.numbers import Value, read, unwrap

_OPERATORS = str.maketrans({"×": "*", "∗": "*", "·": "*", "∙": "*", "÷": "/", "[": "(", "]": ")"})


def expression(text: str, gold: Value) -> str:
    """What Python can read of an expression, without the result behind it."""
    text = unwrap(re.sub(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}", r"((\1)/(\2))", text)).translate(_OPERATORS)
    left, _, right = text.partition("=")
    result = read(right, units=False)
    return (left if result and result.number == gold.number else text).strip("$ ")


def makes(expression: str, numbers: list[int], target: Fraction) -> bool:
    used: list[int] = []
    operations = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}

    def value(node) -> Fraction:
        if isinstance(node, ast.BinOp) and type(node.op) in operations:
            return operations[type(node.op)](value(node.left), value(node.right))
        if isinstance(node, ast.Constant) and type(node.value) is int:
            used.append(node.value)
            return Fraction(node.value)
        raise ValueError

    try:
        made = value(ast.parse(expression.strip(), mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, RecursionError, MemoryError):
        return False
    return made == target and sorted(used) == numbers
