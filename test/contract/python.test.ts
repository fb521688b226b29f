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
        return {key: os.environ[name] for key, name in names.items()}
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
