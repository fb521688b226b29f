import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { command, stateFolder } from '../e2e/up_support.ts'

const home = stateFolder()

const commands = [
  ['up'],
  ['server'],
  ['worker'],
  ['migrate'],
  ['audit'],
  ['audit', 'record'],
  ['settings'],
  ['flow', 'push'],
  ['flow', 'run'],
  ['flow', 'list'],
  ['flow', 'show'],
  ['job', 'list'],
  ['job', 'show'],
  ['job', 'logs'],
  ['job', 'cancel'],
  ['job', 'replay'],
  ['job', 'restart'],
  ['variable', 'list'],
  ['variable', 'get'],
  ['variable', 'set'],
  ['variable', 'delete'],
  ['resource', 'list'],
  ['resource', 'get'],
  ['resource', 'set'],
  ['resource', 'delete'],
  ['workspace', 'error-handler'],
  ['top'],
]

test.each(commands.map((words) => [words.join(' '), words] as const))('`%s --help` explains it', (name, words) => {
  const { exitCode, out, err } = command(home, [...words, '--help'])
  expect({ exitCode, err }).toEqual({ exitCode: 0, err: '' })
  expect(out).toContain(`Usage: millrace ${name} [options]`)
})

test('help names every command, with examples', () => {
  const { out, exitCode } = command(home, ['--help'])
  expect(exitCode).toBe(0)
  for (const [name] of commands) expect(out).toMatch(new RegExp(`^  ${name} `, 'm'))
  expect(out).toContain('Examples:')
})

test.each([
  ['no command at all', [], /Usage: millrace/],
  ['an unknown command', ['flow', 'pusg'], /unknown command 'pusg'[\s\S]*Did you mean push/],
  ['an unknown option', ['job', 'list', '--nope'], /unknown option '--nope'/],
  ['a missing argument', ['flow', 'run'], /missing required argument 'path'/],
])('%s is wrong usage: exit code 2, and what would be right', (_name, args, message) => {
  const { exitCode, out, err } = command(home, args)
  expect(exitCode).toBe(2)
  expect(out).toBe('')
  expect(err).toMatch(message)
})

test.each([
  ['no server in the state folder', ['flow', 'list'], /no server runs in the state folder .*; start one with `millrace up`/],
  [
    'a server that does not answer',
    ['job', 'list', '--url', 'http://127.0.0.1:9', '--token', 'x'],
    /no server answers at http:\/\/127\.0\.0\.1:9/,
  ],
  ['a URL that is none', ['job', 'list', '--url', 'localhost', '--token', 'x'], /"localhost" is not a URL/],
  ['a duration that is none', ['audit', '--since', 'yesterday'], /--since is "yesterday"; write a number and s, m, h or d/],
  ['an audit mode that is none', ['audit', 'record', 'maybe'], /"maybe" is none; use on, off, clear or status/],
  ['arguments that are not JSON', ['flow', 'run', 'a', '-d', '{'], /--data is not JSON/],
  ['arguments that are no object', ['flow', 'run', 'a', '-d', '[1]'], /--data must be a JSON object/],
  ['an argument file that is not there', ['flow', 'run', 'a', '-d', '@/nowhere.json'], /--data: ENOENT/],
  [
    'a handler that is set and cleared',
    ['workspace', 'error-handler', '--set', 'flow/a', '--clear'],
    /give --set or --clear, not both/,
  ],
  ['arguments of no handler', ['workspace', 'error-handler', '--args', '{}'], /--args belongs to a handler: give --set too/],
  ['a count that is no number', ['job', 'list', '-n', 'many'], /--count is "many"; give a whole number/],
  [
    'a binding that names nothing',
    ['worker', '--dedicated', 'triage'],
    /"triage" names nothing to bind to; write <workspace>:flow\/<path>/,
  ],
  ['replicas without a number', ['worker', '--replicas', 'score'], /"score": write <step>=<number>/],
  ['dedicated and tags at once', ['worker', '--dedicated', 'main:flow/a', '--tags', 'b'], /give --dedicated or --tags, not both/],
  ['a log level that is none', ['worker', '--log-level', 'loud'], /log level "loud" is none; use one of debug, info/],
  ['a database that is no URL', ['migrate', '--database', 'localhost'], /postgres:\/\/user:password@host:port\/name/],
  [
    'a database that is not there',
    ['migrate', '--database', 'postgres://u:p@127.0.0.1:9/x'],
    /the database cannot be reached.*check DATABASE_URL/,
  ],
])('%s is told plainly: exit code 1 and no stack', (_name, args, message) => {
  const { exitCode, out, err } = command(home, args)
  expect(err).toMatch(message)
  expect(err).not.toMatch(/^\s+at .*:\d+:\d+\)?$/m)
  expect({ exitCode, out }).toEqual({ exitCode: 1, out: '' })
})

test('with --json an error is JSON too', () => {
  const { err } = command(home, ['flow', 'list', '--json'])
  expect(JSON.parse(err)).toMatchObject({ error: { code: 'E_SETUP' } })
})

test('a limit that is no number is refused by its name', () => {
  const { exitCode, err } = command(home, ['worker'], { env: { MILLRACE_LEASE_MS: 'soon' } })
  expect(exitCode).toBe(1)
  expect(err).toMatch(/MILLRACE_LEASE_MS is "soon"/)
})

test('setup names its commands when it is given another', () => {
  const ran = spawnSync(process.execPath, ['src/cli/setup.mjs', 'nope'], { encoding: 'utf8' })
  expect(ran.status).toBe(1)
  expect(ran.stderr).toMatch(/^setup: unknown command "nope"; use one of: build, start, test, [a-z, ]+\n$/)
})
