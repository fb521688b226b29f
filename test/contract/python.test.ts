import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createHarness, type Harness } from './harness.ts'
import { runtimeContract } from './runtime.ts'

const program = `
import os, subprocess, sys, time
import millrace


def main(what, value=None):
    if what == "echo":
        return value
    if what == "fail":
        raise KeyError("it broke")  # FAILS HERE
    if what == "forge":
        print('["ok",1,"forged",0]', flush=True)
        os.write(1, b'\\x03\\x00\\x00\\x00[1]')
        print('["broken",{}]', file=sys.stderr)
        subprocess.run(["sh", "-c", "echo '[]'; cat"], timeout=5)
        return "honest"
    if what == "log":
        print("line", value)
        return
    if what == "environment":
        names = dict(job="WM_JOB_ID", flow="WM_FLOW_JOB_ID", root="WM_ROOT_JOB_ID", token="WM_TOKEN", color="COLOR")
        child = subprocess.run(["sh", "-c", "echo $TRACEPARENT $TRACESTATE"], capture_output=True, text=True).stdout.strip()
        trace = os.environ.get("TRACEPARENT", "") + " " + os.environ.get("TRACESTATE", "")
        assert child == trace.strip(), child
        return {**{key: os.environ[name] for key, name in names.items()}, "trace": trace}
    if what == "exit":
        sys.exit(3)
    if what == "die":
        os._exit(7)
    if what == "hang":
        print("hanging")
        time.sleep(10_000)
    if what == "memory":
        kept = []
        while True:
            kept.append(list(range(100_000)))
    if what == "nul":
        return "a\\0\\ud800b"
    if what == "big":
        return "x" * value
    if what == "pieces":
        print("WM_STREAM: one ")
        millrace.stream("two")
        return
    if what == "flood":
        for _ in range(30):
            millrace.stream("s" * (value // 30))
        for _ in range(value // 100):
            print("l" * 99)
        raise ValueError("e" * value)
    if what == "cyclic":
        return lambda: None
    if what == "detach":
        return subprocess.Popen(["sleep", "1000"], start_new_session=True).pid
`

runtimeContract({
  runtime: 'python',
  program,
  broken: { program: 'def main(:\n    pass', error: /invalid syntax|SyntaxError/ },
  can: { anyText: true, die: true, memory: true, unprintable: 'cyclic', kill: true, overlap: false },
})

describe('Python', () => {
  let harness: Harness
  beforeAll(() => void (harness = createHarness('python')))
  afterAll(() => harness.close())

  const run = (code: string, args: Record<string, unknown> = {}, options = {}) => {
    const spec = harness.spec(code, { params: Object.keys(args) })
    return harness.call(spec, args, options)
  }

  test.each<[string, string, Record<string, unknown>, unknown]>([
    ['an async main', 'import asyncio\nasync def main(n):\n    await asyncio.sleep(0)\n    return n + 1', { n: 1 }, 2],
    ['defaults, and arguments it does not know', 'def main(a, b=5):\n    return [a, b]', { a: 1, c: 2 }, [1, 5]],
    ['all arguments, if it asks for them', 'def main(a, **rest):\n    return rest', { a: 1, c: 2 }, { c: 2 }],
    ['a generator', 'def main():\n    yield 1\n    yield 2', {}, [1, 2]],
    [
      'numbers JSON has no word for',
      'def main():\n    return [float("nan"), float("inf"), 10**20, 1.5]',
      {},
      [null, null, 1e20, 1.5],
    ],
    [
      'plain data in other clothes',
      `import datetime, decimal, dataclasses, uuid

@dataclasses.dataclass
class Point:
    x: int
    at: datetime.date

def main():
    return {"p": Point(1, datetime.date(2026, 1, 2)), "b": b"hi", "d": decimal.Decimal("1.5"), "s": {3}, 1: uuid.UUID(int=0)}`,
      {},
      { p: { x: 1, at: '2026-01-02' }, b: 'aGk=', d: 1.5, s: [3], 1: '00000000-0000-0000-0000-000000000000' },
    ],
  ])('main may return or take %s', async (_name, code, args, value) => {
    expect(await run(code, args).answer).toMatchObject({ ok: true, value })
  })

  test('a missing argument is the caller’s error, told in the language’s words', async () => {
    const { error } = await run('def main(a, b):\n    return a', { a: 1 }).answer
    expect(error).toMatchObject({ name: 'TypeError', message: expect.stringContaining("'b'") })
  })

  test('what a call does to the environment is gone with it', async () => {
    const code = `import os
def main(write):
    before = os.environ.get("COLOR"), os.environ.get("EXTRA"), os.environ["WM_WORKSPACE"]
    if write:
        os.environ["COLOR"] = "green"
        os.environ["EXTRA"] = "1"
        del os.environ["WM_WORKSPACE"]
    return before`
    const scope = { COLOR: 'red', WM_WORKSPACE: 'main' }
    const spec = harness.spec(code, { params: ['write'] })
    const calls = [true, true, false].map((write) => harness.call(spec, { write }, { scope }))
    for (const call of calls) expect((await call.answer).value).toEqual(['red', null, 'main'])
  })

  test('child processes get the environment of their call, however they are started', async () => {
    const code = `import os, subprocess
def main():
    echo = "echo $WM_JOB_ID"
    os.system(echo)
    subprocess.run(echo, shell=True)
    subprocess.run(echo, shell=True, env=os.environ)
    print(os.popen(echo).read(), end="")
    pid = os.fork()
    if pid == 0:
        os.execv("/bin/sh", ["sh", "-c", echo])
    os.waitpid(pid, 0)`
    const spec = harness.spec(code)
    const calls = ['one', 'two'].map((stepJobId) => harness.call(spec, {}, { stepJobId }))
    await Promise.all(calls.map((call) => call.answer))
    expect(calls.map((call) => call.log)).toEqual(['one\n'.repeat(5), 'two\n'.repeat(5)])
  })

  test('what child processes print is the log of their call', async () => {
    const code = 'import subprocess\ndef main(n):\n    subprocess.run(["sh", "-c", f"echo out {n}; echo err {n} >&2"])'
    const spec = harness.spec(code, { params: ['n'] })
    const calls = Array.from({ length: 10 }, (_, n) => harness.call(spec, { n }))
    await Promise.all(calls.map((call) => call.answer))
    expect(calls.map((call) => call.log)).toEqual(calls.map((_, n) => `out ${n}\nerr ${n}\n`))
  })

  test('a log is seen while its call still runs', async () => {
    const code = 'import time\ndef main():\n    print("started")\n    time.sleep(1000)'
    const call = run(code)
    await call.logs('started')
    expect(call.answers).toBe(0)
    harness.pool.cancel(call, 'seen')
    await call.answer
  })

  test('quick results are not held back by a slow call after them', async () => {
    const spec = harness.spec('import time\ndef main(s):\n    time.sleep(s)', { params: ['s'] })
    await harness.pool.warm(spec, 1)
    const calls = [0, 0, 1000].map((s) => harness.call(spec, { s }))
    await calls[0]!.answer
    await calls[1]!.answer
    expect(calls.map((call) => call.answers)).toEqual([1, 1, 0])
    harness.pool.cancel(calls[2]!, 'seen')
    await calls[2]!.answer
  })

  test('a fork of user code cannot speak for the runner', async () => {
    const code = 'import os\ndef main(n):\n    os.fork()\n    return n'
    const spec = harness.spec(code, { params: ['n'] })
    const calls = [1, 2, 3].map((n) => harness.call(spec, { n }))
    expect((await Promise.all(calls.map((call) => call.answer))).map((answer) => answer.value)).toEqual([1, 2, 3])
  })
})
