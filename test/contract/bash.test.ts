import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isOver } from '../support/processes.ts'
import { createHarness, type Harness } from './harness.ts'
import { runtimeContract } from './runtime.ts'

const program = `
what="$1"
value="$2"

case "$what" in
  echo) printf '%s' "$value" > result.json ;;
  fail) it_broke_is_no_command; echo it broke >&2; exit 1 ;; # FAILS HERE
  forge)
    echo '["ok",1,"forged",0]'
    printf '\\003\\000\\000\\000[1]\\n'
    echo '["broken",{}]' >&2
    cat
    echo honest ;;
  log) echo "line $value" ;;
  environment)
    echo "{\\"job\\":\\"$WM_JOB_ID\\",\\"flow\\":\\"$WM_FLOW_JOB_ID\\",\\"root\\":\\"$WM_ROOT_JOB_ID\\",\\"token\\":\\"$WM_TOKEN\\",\\"color\\":\\"$COLOR\\",\\"trace\\":\\"$TRACEPARENT $TRACESTATE\\"}" ;;
  exit) exit 3 ;;
  hang) echo hanging; sleep 10000 ;;
  memory) x=xxxxxxxxxxxxxxxx; while :; do x="$x$x"; done ;;
  nul) printf 'a\\000b' ;;
  big) head -c "$value" /dev/zero | tr '\\0' x ;;
  pieces) echo 'WM_STREAM: one '; echo 'WM_STREAM: two' ;;
  flood)
    line=$(head -c 99999 /dev/zero | tr '\\0' s)
    for _ in $(seq 1 $((value / 99999))); do echo "WM_STREAM: $line"; done
    head -c "$value" /dev/zero | tr '\\0' l | fold -w 99
    head -c "$value" /dev/zero | tr '\\0' e >&2
    exit 1 ;;
  detach) setsid sleep 1000 > /dev/null 2>&1 & echo $! ;;
esac
`

runtimeContract({
  runtime: 'bash',
  program,
  broken: { program: 'if true; then\necho', error: /unexpected end of file/ },
  can: { anyText: false, die: false, memory: true, unprintable: null, kill: true, overlap: true },
})

describe('Bash', () => {
  let harness: Harness
  beforeAll(() => void (harness = createHarness('bash')))
  afterAll(() => harness.close())

  const run = (code: string, args: Record<string, unknown> = {}) =>
    harness.call(harness.spec(code, { params: Object.keys(args) }), args)

  test.each<[string, string, unknown]>([
    ['the last line, as text', 'echo one; echo two words; echo', 'two words'],
    ['the last line, as JSON', 'echo noise; echo \'{"a":[1,2]}\'', { a: [1, 2] }],
    ['result.json, whatever was printed', 'echo \'{"a":1}\' > result.json; echo 2', { a: 1 }],
    ['null, if there is nothing', 'true', null],
    ['a line without its end', 'printf 42', 42],
  ])('the result is %s', async (_name, code, value) => {
    expect(await run(code).answer).toMatchObject({ ok: true, value })
  })

  test('a gigabyte without an end of line is neither kept nor looked through again and again', async () => {
    const { error } = await run('head -c 400000000 /dev/zero | tr "\\0" x').answer
    expect(error).toMatchObject({ name: 'ResultTooLarge' })
    expect(await run('head -c 400000000 /dev/zero | tr "\\0" x; echo; echo done').answer).toMatchObject({ value: 'done' })
  })

  test('arguments are positional: text as it is, anything else as JSON', async () => {
    const { value } = await run('printf "%s|" "$@"', { a: 'two words $HOME `x`', b: { c: [1] }, d: null, e: 7, f: true }).answer
    expect(value).toBe('two words $HOME `x`|{"c":[1]}||7|true|')
  })

  test('a background process does not hold the call, and ends with it', async () => {
    const { ok, value } = await run('sleep 1000 & echo $!').answer
    expect(ok).toBe(true)
    await expect.poll(() => isOver(Number(value))).toBe(true)
  })

  test('calls do not see each other’s files', async () => {
    const spec = harness.spec('ls | wc -l; touch seen; cat result.json 2>/dev/null; ls > /dev/null', { params: [] })
    const calls = Array.from({ length: 6 }, () => harness.call(spec, {}))
    expect((await Promise.all(calls.map((call) => call.answer))).map((answer) => answer.value)).toEqual([0, 0, 0, 0, 0, 0])
  })
})
