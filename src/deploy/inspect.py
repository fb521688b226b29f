"""Reads the signatures of Python steps.

stdin: a JSON array of sources. stdout: a JSON array with, for each, either
{"params": [{"name", "schema", "required"}]} or {"error": {"line", "column", "text"}}.
Nothing of a step is imported or run: only its syntax tree is read.
"""
import ast
import json
import sys
import warnings

warnings.simplefilter("ignore")

NAMES = {
    "str": {"type": "string"}, "int": {"type": "integer"}, "float": {"type": "number"}, "bool": {"type": "boolean"},
    "dict": {"type": "object"}, "list": {"type": "array"}, "bytes": {"type": "string", "contentEncoding": "base64"},
    "datetime": {"type": "string", "format": "date-time"}, "date": {"type": "string", "format": "date"},
    "Dict": {"type": "object"}, "List": {"type": "array"}, "None": {"type": "null"},
}


def schema_of(node):
    if isinstance(node, ast.Constant):
        if node.value is None:
            return {"type": "null"}
        if isinstance(node.value, str):  # an annotation written as text
            try:
                return schema_of(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return {}
    if isinstance(node, ast.Name):
        return dict(NAMES.get(node.id, {}))
    if isinstance(node, ast.Attribute):
        return dict(NAMES.get(node.attr, {}))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return either([node.left, node.right])
    if isinstance(node, ast.Subscript):
        name = getattr(node.value, "id", getattr(node.value, "attr", ""))
        inner = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if name in ("list", "List", "Sequence", "Iterable", "set", "Set", "tuple", "Tuple"):
            items = schema_of(inner[0]) if name not in ("tuple", "Tuple") else {}
            return {"type": "array", "items": items} if items else {"type": "array"}
        if name in ("dict", "Dict", "Mapping"):
            return {"type": "object"}
        if name == "Optional":
            return either(inner + [ast.Constant(None)])
        if name == "Union":
            return either(inner)
        if name == "Literal":
            values = [e.value for e in inner if isinstance(e, ast.Constant)]
            return {"enum": values} if all(isinstance(v, (str, int, bool, float, type(None))) for v in values) else {}
    return {}


def either(nodes):
    found = [schema_of(n) for n in nodes]
    rest = [s for s in found if s != {"type": "null"}]
    if len(rest) == 1:
        return rest[0]
    return {"anyOf": found} if all(found) else {}


def param_of(arg, default):
    schema = schema_of(arg.annotation) if arg.annotation else {}
    if default is not None:
        try:
            value = ast.literal_eval(default)
            json.dumps(value, allow_nan=False)
            schema["default"] = value
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
            pass
    return {"name": arg.arg, "schema": schema, "required": default is None}


def main_of(body):
    """The last definition of main at the top of the module, also below `if` and `try`."""
    found = None
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == "main":
            found = node
        elif isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "main" for t in node.targets):
            found = node
        elif isinstance(node, (ast.Import, ast.ImportFrom)) and any((a.asname or a.name) == "main" for a in node.names):
            found = node
        elif isinstance(node, (ast.If, ast.Try)):
            inner = main_of(node.body) or main_of(node.orelse)
            found = inner or found
    return found


def fault(text, node=None, line=1, column=1):
    if node is not None:
        line, column = node.lineno, node.col_offset + 1
    return {"error": {"line": line, "column": column, "text": text}}


def inspect(source):
    try:
        tree = ast.parse(source)
    except SyntaxError as e:
        return fault(str(e.msg), line=e.lineno or 1, column=max(e.offset or 1, 1))
    except (ValueError, RecursionError, MemoryError) as e:
        return fault(str(e) or type(e).__name__)
    main = main_of(tree.body)
    if main is None:
        return {"error": {"text": "main"}}
    body_of = {n.name: n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))}
    if isinstance(main, ast.Assign):
        named = body_of.get(main.value.id) if isinstance(main.value, ast.Name) else main.value
        main = named if isinstance(named, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) else main
    if not hasattr(main, "args"):
        return fault("the parameters of main cannot be read here: define it with def", main)
    a = main.args
    positional = a.posonlyargs + a.args
    defaults = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    params = [param_of(arg, d) for arg, d in zip(positional, defaults)]
    params += [param_of(arg, d) for arg, d in zip(a.kwonlyargs, a.kw_defaults)]
    return {"params": params}


json.dump([inspect(s) for s in json.load(sys.stdin)], sys.stdout)
