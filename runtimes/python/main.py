"""The Python runtime: frames from the engine in, `main(**args)` called, frames out (docs/runtime-protocol.md).

    P1. The protocol's descriptors are private copies, closed in child processes; what user code prints, at any level, goes
        to the log and never into a frame.
    P2. Calls run one after another. Results wait at most FLUSH_SECONDS while other calls run: the flusher thread sees to it
        when a call takes long.
    P3. Only the standard library, of Python 3.8 or later.
"""

import array
import ast
import codecs
import faulthandler
import inspect
import io
import json
import linecache
import mmap
import os
import platform
import resource
import select
import struct
import sys
import threading
import time
import traceback
import types
from fcntl import ioctl
from termios import FIONREAD

from millrace_values import Unprintable, print_value

FRAME_BYTES_MAX = 256 << 20
LARGE_CHARS = 64 << 10  # messages of this size do not wait for others: frames have a limit
ERROR_CHARS_MAX = 64 << 10  # what is beyond would be cut by the engine
FLUSH_SECONDS = 0.001
CALL_NAMES = ("WM_JOB_ID", "WM_FLOW_JOB_ID", "WM_ROOT_FLOW_JOB_ID", "WM_ROOT_JOB_ID", "WM_TOKEN")
TRACE_NAMES = (b"TRACEPARENT", b"TRACESTATE")
SPAWN_EVENTS = frozenset("subprocess.Popen os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn".split())

# Code that imports nothing beyond these can neither read the environment nor start a process: its calls are spared the
# few microseconds of setting it.
PURE_MODULES = frozenset(
    "__future__ abc array base64 binascii bisect calendar cmath collections colorsys copy csv dataclasses datetime decimal "
    "difflib enum fractions functools hashlib heapq hmac html itertools json keyword math numbers operator random re "
    "secrets statistics string struct textwrap time types typing unicodedata urllib.parse uuid zlib".split()
)

perf_counter = time.perf_counter


def take(name, default=""):
    return os.environ.pop(name, default)


CODE = take("MILLRACE_CODE")
PARAMS = json.loads(take("MILLRACE_PARAMS", "[]"))
SOURCE = take("MILLRACE_SOURCE") or CODE
CELL = take("MILLRACE_CELL")
DEPENDENCIES = take("MILLRACE_DEPENDENCIES")
MEMORY_MIB = int(take("MILLRACE_MEMORY_MIB", "512"))
RESULT_BYTES_MAX = int(take("MILLRACE_RESULT_BYTES_MAX", str(16 << 20)))
take("MILLRACE_SHARES_FOLDER")  # a call runs in this process' folder, where ./shared is made
LOG_BYTES_MAX = int(take("MILLRACE_LOG_BYTES_MAX", str(1 << 20)))

# ---- descriptors (P1): os.dup makes copies that child processes do not inherit

in_fd = os.dup(0)
out_fd = os.dup(1)
null_fd = os.open(os.devnull, os.O_RDONLY)
os.dup2(null_fd, 0)
os.dup2(2, 1)
os.close(null_fd)


def close_in_child():
    """A fork of user code must not speak for the runner."""
    os.close(in_fd)
    os.close(out_fd)


os.register_at_fork(after_in_child=close_in_child)

with open(CELL, "r+b") as cell_file:
    cell = mmap.mmap(cell_file.fileno(), 16)
tell_begun = struct.Struct("<QQ").pack_into

# ---- frames

out = []
write_lock = threading.Lock()
last_flush = 0.0
encode_messages = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


def flush():
    """Sends all messages made so far. The main thread may go on appending while the flusher is in here."""
    global last_flush
    with write_lock:
        count = len(out)
        last_flush = perf_counter()
        if count == 0:
            return
        messages = out[:count]
        del out[:count]
        body = encode_messages(messages).encode("utf-8", "surrogatepass")
        frame = len(body).to_bytes(4, "little") + body
        view = memoryview(frame)
        try:
            while view:
                view = view[os.write(out_fd, view) :]
        except BrokenPipeError:
            os._exit(0)


def frames():
    """Yields the lists of messages of each frame until the engine closes the pipe."""
    buffer = bytearray()
    while True:
        chunk = os.read(in_fd, 1 << 18)
        if not chunk:
            return
        buffer += chunk
        at = 0
        while len(buffer) - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "little")
            if length == 0 or length > FRAME_BYTES_MAX:
                raise SystemExit(f"frame of {length} bytes (1 to {FRAME_BYTES_MAX} allowed)")
            if len(buffer) - at - 4 < length:
                break
            yield json.loads(buffer[at + 4 : at + 4 + length])
            at += 4 + length
        if at:
            del buffer[:at]


flusher_due = threading.Event()


def flusher():
    while True:
        flusher_due.wait()
        time.sleep(0.005)
        flusher_due.clear()
        flush()


# ---- output of user code


class Call:
    """The call under way; `id` 0 is none."""

    id = 0
    log_bytes = 0
    stream_bytes = 0


class Log(io.TextIOBase):
    """sys.stdout and sys.stderr of user code."""

    encoding = "utf-8"
    errors = "replace"

    def __init__(self):
        self.line = ""  # the start of a line that may become a WM_STREAM line

    def writable(self):
        return True

    def isatty(self):
        return False

    def fileno(self):
        return 2

    def write(self, text):
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            pending = self.line + text
            end = pending.rfind("\n") + 1
            self.line = pending[end:]
            if end:
                emit(pending[:end])
            elif len(self.line) > 8192:
                self.finish()
        return len(text)

    def flush(self):
        self.finish()

    def finish(self):
        if self.line:
            text, self.line = self.line, ""
            emit(text)


def emit(text):
    if not text:
        return
    if "WM_STREAM: " in text:
        kept = []
        for line in text.splitlines(True):
            if line.startswith("WM_STREAM: "):
                send_stream(line[11:].rstrip("\n").replace("\\n", "\n"))
            else:
                kept.append(line)
        text = "".join(kept)
    if text and Call.log_bytes <= LOG_BYTES_MAX:
        Call.log_bytes += len(text)
        out.append(["log", Call.id, text[: LOG_BYTES_MAX + 1]])
    soon()


def send_stream(text):
    if Call.stream_bytes > RESULT_BYTES_MAX:
        return
    Call.stream_bytes += len(text)
    out.append(["stream", Call.id, text[: RESULT_BYTES_MAX + 1]])  # the engine cuts, and says so
    if len(text) > LARGE_CHARS:
        flush()


def soon():
    if perf_counter() - last_flush > FLUSH_SECONDS:
        flush()
    elif not flusher_due.is_set():
        flusher_due.set()


class Descriptors:
    """Descriptors 1 and 2 of code that can reach them: what C code and child processes write there is the log of the call
    that runs, up to the last byte written before it ended."""

    def __init__(self):
        faulthandler.enable(os.dup(2))
        self.pipe, write_fd = os.pipe()
        self.waiting = array.array("i", [0])
        os.dup2(write_fd, 1)
        os.dup2(write_fd, 2)
        os.close(write_fd)
        self.lock = threading.Lock()
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        threading.Thread(target=self.listen, daemon=True, name="millrace-output").start()

    def listen(self):
        poll = select.poll()
        poll.register(self.pipe, select.POLLIN)
        while True:
            poll.poll()
            self.drain()

    def drain(self):
        with self.lock:
            while True:
                ioctl(self.pipe, FIONREAD, self.waiting)  # half the price of a read that finds nothing
                if self.waiting[0] == 0:
                    return
                emit(self.decode(os.read(self.pipe, 1 << 16)))


millrace = types.ModuleType("millrace", "What a step can say to the engine while it runs.")


def progress(percent):
    out.append(["progress", Call.id, float(percent)])
    soon()


def stream(text):
    send_stream(str(text))
    soon()


millrace.progress = progress
millrace.stream = stream
sys.modules["millrace"] = millrace

# ---- environment


class Environment:
    """os.environ of the call: the process's own, then the scope's, then the call's. Restored when user code changed it.

    The C library never frees what putenv was given, so the values of a call are told to it only before a process starts."""

    def __init__(self):
        self.base = dict(os.environ)
        self.actual = os.environ._data  # the dictionary of encoded names and values behind os.environ
        self.expected = dict(self.actual)
        self.scope = {}
        self.own_names = ()
        self.traced = ()
        sys.addaudithook(self.listen)

    def listen(self, event, _args):
        if event in SPAWN_EVENTS:
            for _, name in self.own_names:
                os.putenv(name, self.actual.get(name, b""))
            for name in TRACE_NAMES:
                if name in self.actual:
                    os.putenv(name, self.actual[name])
                else:
                    os.unsetenv(name)

    def enter(self, scope, job_id, step_job_id, token, trace):
        if scope is not self.scope or self.actual != self.expected:
            self.enter_scope(scope)
        flow = "" if job_id == step_job_id else job_id
        expected = self.expected
        for index, name in self.own_names:
            value = (step_job_id, flow, flow, job_id, token)[index].encode()
            self.actual[name] = expected[name] = value
        if trace or self.traced:
            self.enter_trace(trace)

    def enter_trace(self, trace):
        self.traced = trace
        for name, value in zip(TRACE_NAMES, trace or ("", "")):
            for values in (self.actual, self.expected):
                values.pop(name, None)
                if value:
                    values[name] = value.encode()

    def enter_scope(self, scope):
        environ = os.environ
        wanted = {**self.base, **scope}
        for name in list(environ):
            if name not in wanted:
                del environ[name]
        for name, value in wanted.items():
            if environ.get(name) != value:
                environ[name] = value
        self.scope = scope
        self.own_names = [(index, name.encode()) for index, name in enumerate(CALL_NAMES) if name not in scope]
        self.expected = dict(self.actual)


def reaches_out(tree):
    """Can the code read the environment, start a process or write to a descriptor?"""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            if any(alias.name not in PURE_MODULES for alias in node.names):
                return True
        elif isinstance(node, ast.ImportFrom):
            if node.level or node.module not in PURE_MODULES:
                return True
        elif isinstance(node, ast.Name):
            if node.id in ("__import__", "exec", "eval", "compile", "__builtins__", "__loader__", "globals", "vars"):
                return True
        elif isinstance(node, ast.Attribute):
            if node.attr.startswith("__") or node.attr in ("modules", "os", "sys"):
                return True
    return False


# ---- errors


def too_large(size):
    message = f"what main of {SOURCE} returned is {size} bytes of JSON; the limit is {RESULT_BYTES_MAX} (MILLRACE_RESULT_BYTES_MAX)"
    return {"name": "ResultTooLarge", "message": f"{message}. Keep it elsewhere, and pass on where it is"}


def short(text):
    return text if len(text) <= ERROR_CHARS_MAX else text[:ERROR_CHARS_MAX] + "… (cut)"


def describe(error):
    name = type(error).__name__
    message = short(str(error))
    if isinstance(error, SystemExit):
        name, message = "ExitError", f"sys.exit({error.code!r}) was called; a step ends by returning or raising"
    elif isinstance(error, MemoryError):
        name, message = "OutOfMemory", f"the step used more than the {MEMORY_MIB} MiB of memory a runner may have"
    elif isinstance(error, Unprintable):
        return {"name": "ResultError", "message": message}
    described = {"name": name, "message": message}
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    try:
        lines = traceback.format_exception(type(error), error, trace)
        described["stack"] = short("".join(lines).rstrip("\n"))
    except Exception:
        pass
    return described


# ---- calls


def load():
    """Returns main, and whether it can see its environment and its descriptors."""
    with open(CODE, encoding="utf-8") as file:
        text = file.read()
    linecache.cache[SOURCE] = (len(text), None, text.splitlines(True), SOURCE)
    if DEPENDENCIES:
        sys.path.insert(0, DEPENDENCIES)
    sys.path[:] = [entry for entry in sys.path if entry != os.path.dirname(os.path.abspath(__file__))]
    tree = ast.parse(text, SOURCE)
    module = types.ModuleType("step")
    module.__file__ = SOURCE
    sys.modules["step"] = module
    exec(compile(tree, SOURCE, "exec", dont_inherit=True), module.__dict__)
    main = module.__dict__.get("main")
    if not callable(main):
        raise LookupError(f"{SOURCE} defines no function `main`")
    return main, reaches_out(tree)


def accepted(main):
    """The names of arguments main takes, or None for all (**kwargs)."""
    parameters = inspect.signature(main).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def limit_memory():
    """A backstop: one giant allocation becomes a MemoryError. The engine watches what is really used. Child processes inherit
    this limit, and some (Node) reserve half a gigabyte before they start; hence the gigabyte on top."""
    if not sys.platform.startswith("linux"):
        return
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[5]) * resource.getpagesize()
    bound = used + (MEMORY_MIB << 21) + (1 << 30)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))


def serve(main, impure):
    names = accepted(main)
    is_async = inspect.iscoroutinefunction(main)
    if is_async:
        import asyncio

        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
    environment = Environment()
    descriptors = Descriptors() if impure else None
    scopes = {}
    log = sys.stdout
    loads = json.loads

    def run(message):
        _, call_id, scope, text, job_id, step_job_id, token, *trace = message
        tell_begun(cell, 0, call_id, call_id)
        Call.id = call_id
        Call.log_bytes = 0
        Call.stream_bytes = 0
        started = perf_counter()
        try:
            if impure:
                environment.enter(scopes[scope], job_id, step_job_id, token, trace)
                if "wmill" in sys.modules:  # its client keeps the token of the call that first used it
                    sys.modules["wmill"]._client = None
                    if "wmill.client" in sys.modules:
                        sys.modules["wmill.client"]._client = None
            args = loads(text)
            if names is not None and not names.issuperset(args):
                args = {name: value for name, value in args.items() if name in names}
            value = main(**args)
            if is_async:
                value = loop.run_until_complete(value)
            elif isinstance(value, types.GeneratorType):
                value = list(value)
            printed = print_value(value)
            size = len(printed) * 4 > RESULT_BYTES_MAX and len(printed.encode("utf-8", "surrogatepass"))
            if size > RESULT_BYTES_MAX:
                answer = ["error", call_id, too_large(size), 0]
            else:
                answer = ["ok", call_id, printed, 0]
        except BaseException as error:
            answer = ["error", call_id, describe(error), 0]
        now = perf_counter()
        answer[3] = round((now - started) * 1000, 3)
        if log.line:
            log.finish()
        if descriptors:
            descriptors.drain()
        Call.id = 0
        out.append(answer)
        if now - last_flush > FLUSH_SECONDS:
            flush()

    for messages in frames():
        if len(messages) > 1 and not flusher_due.is_set():
            flusher_due.set()
        for message in messages:
            kind = message[0]
            if kind == "call":
                run(message)
            elif kind == "scope":
                scopes[message[1]] = message[2]
            elif kind == "stop":
                flush()
                return
        flush()


def start():
    sys.stdout = sys.stderr = sys.__stdout__ = sys.__stderr__ = Log()
    threading.Thread(target=flusher, daemon=True, name="millrace-flusher").start()
    try:
        main, impure = load()
        limit_memory()
    except BaseException as error:
        sys.stdout.finish()
        out.append(["broken", describe(error)])
        flush()
        os._exit(1)
    info = {"protocol": 1, "language": "python3", "version": platform.python_version(), "pid": os.getpid()}
    out.append(["ready", info])
    flush()
    serve(main, impure)
    sys.stdout.finish()
    flush()
    os._exit(0)


if __name__ == "__main__":
    start()
