import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { EngineError } from '../../../src/core/errors.ts'
import { parseFlow, parseFlowValue } from '../../../src/core/flow/validate.ts'
import { defaultLimits } from '../../../src/core/limits.ts'
import { flow, nested, step } from './documents.ts'

const limits = { ...defaultLimits, flowModulesMax: 5, jsonDepthMax: 20 }

function faultOf(document: unknown): EngineError {
  try {
    parseFlow(document, limits)
  } catch (fault) {
    if (fault instanceof EngineError) return fault
    throw fault
  }
  throw new Error('the document was accepted')
}

const js = (expr: unknown) => ({ type: 'javascript', expr })
const cyclic: Record<string, unknown> = flow([])
cyclic['self'] = cyclic

const bad: [what: string, document: unknown, at: string, message: string][] = [
  ['no object', [], '$', 'a flow is an object {summary, value, schema}, got an array'],
  ['null', null, '$', 'got null'],
  ['no value', { summary: 'x' }, '$.value', 'a flow value is an object {modules: […]}, got nothing'],
  ['a summary that is no text', { ...flow([]), summary: 3 }, '$.summary', 'expected text, got the number 3'],
  ['a schema that is no object', { ...flow([]), schema: 'x' }, '$.schema', 'expected an object'],
  ['a time-out of the whole flow', { ...flow([]), timeout: 3 }, '$.timeout', 'set timeout on its modules'],
  [
    'dedicated_worker that is no boolean',
    { ...flow([]), dedicated_worker: 'yes' },
    '$.dedicated_worker',
    'expected true or false',
  ],
  [
    'a run-as identity',
    { ...flow([]), on_behalf_of_email: 'a@b.c' },
    '$.on_behalf_of_email',
    'does not run flows as someone else',
  ],
  ['no modules', { value: {} }, '$.value.modules', 'expected an array of modules, got nothing'],
  ['modules that are no array', flow({}), '$.value.modules', 'expected an array of modules, got an object'],
  [
    'too many modules',
    flow(['a', 'b', 'c', 'd', 'e', 'f'].map((id) => step(id))),
    '$.value.modules',
    '6 modules; a flow may have 5',
  ],
  [
    'a module that is no object',
    flow([step('a'), 3]),
    '$.value.modules[1]',
    'a module is an object {id, value}, got the number 3',
  ],
  [
    'a module without a value',
    flow([{ id: 'a' }]),
    '$.value.modules[0].value',
    "a module's value is an object {type, …}; types: rawscript, script",
  ],
  // ids
  ['no id', flow([step(undefined as unknown as string)]), '$.value.modules[0].id', 'every module needs an id'],
  ['an id that is no text', flow([step(3 as unknown as string)]), '$.value.modules[0].id', 'every module needs an id'],
  [
    'an id used twice',
    flow([step('a'), step('b'), step('a')]),
    '$.value.modules[2].id',
    "'a' is the id of $.value.modules[0] too",
  ],
  ['a reserved id', flow([step('Input')]), '$.value.modules[0].id', "'Input' is a reserved name"],
  ['the id of the failure module', flow([step('failure')]), '$.value.modules[0].id', 'reserved'],
  ['the id of the preprocessor', flow([step('preprocessor')]), '$.value.modules[0].id', 'reserved'],
  ['an empty id', flow([step('')]), '$.value.modules[0].id', 'is not an id'],
  ['an id with a quote', flow([step('a"b')]), '$.value.modules[0].id', 'is not an id'],
  ['an id with a space', flow([step('a b')]), '$.value.modules[0].id', 'is not an id'],
  ['a long id', flow([step('a'.repeat(65))]), '$.value.modules[0].id', 'up to 64'],
  ['__proto__ as id', flow([step('__proto__')]), '$.value.modules[0].id', 'is not an id'],
  // kinds
  [
    'a module without a type',
    flow([{ id: 'a', value: {} }]),
    '$.value.modules[0].value.type',
    'missing; allowed: rawscript, script, flow, forloopflow, whileloopflow, branchone, branchall, identity',
  ],
  [
    'an unknown module type',
    flow([{ id: 'a', value: { type: 'loop' } }]),
    '$.value.modules[0].value.type',
    'unknown module type "loop"; allowed: rawscript, script, flow, forloopflow, whileloopflow, branchone, branchall, identity',
  ],
  [
    'an agent',
    flow([{ id: 'a', value: { type: 'aiagent', input_transforms: {} } }]),
    '$.value.modules[0].value.type',
    'this version does not run the module type "aiagent"; it runs rawscript, script, flow, forloopflow, whileloopflow, branchone, branchall, identity',
  ],
  [
    'an unknown language',
    flow([step('a', {}, { language: 'cobol' })]),
    '$.value.modules[0].value.language',
    'unknown language "cobol"; allowed: bun, deno, nativets, python3, bash',
  ],
  ['no language', flow([step('a', {}, { language: undefined })]), '$.value.modules[0].value.language', 'missing; allowed: bun'],
  [
    'a language of later',
    flow([step('a', {}, { language: 'go' })]),
    '$.value.modules[0].value.language',
    'this version does not run the language "go"',
  ],
  [
    'a language named like a method',
    flow([step('a', {}, { language: 'toString' })]),
    '$.value.modules[0].value.language',
    'unknown language',
  ],
  [
    'no code',
    flow([step('a', {}, { content: undefined })]),
    '$.value.modules[0].value.content',
    'a rawscript needs its code as text, got nothing',
  ],
  ['code that is no text', flow([step('a', {}, { content: ['x'] })]), '$.value.modules[0].value.content', 'got an array'],
  ['a lock that is no text', flow([step('a', {}, { lock: 3 })]), '$.value.modules[0].value.lock', 'expected text'],
  [
    'a tag in a flow whose steps share a folder',
    flow([step('a', {}, { tag: 'gpu' })], { same_worker: true }),
    '$.value.modules[0].value.tag',
    'share a folder of one worker',
  ],
  ['a tag that is none', flow([step('a', {}, { tag: 'g pu' })]), '$.value.modules[0].value.tag', 'cannot be a tag'],
  ['the tag of a dedicated worker', flow([step('a', {}, { tag: 'main:flow/f/a' })]), '$.value.modules[0].value.tag', 'colons'],
  [
    'a tag of a script by path that is none',
    flow([{ id: 'a', value: { type: 'script', path: 'f/a/b', tag_override: 3 } }]),
    '$.value.modules[0].value.tag_override',
    'expected text',
  ],
  [
    'a limit of a step that is no number',
    flow([step('a', {}, { concurrent_limit: -1 })]),
    '$.value.modules[0].value.concurrent_limit',
    'a whole number from 0',
  ],
  [
    'a key of a step without a limit',
    flow([step('a', {}, { custom_concurrency_key: 'k' })]),
    '$.value.modules[0].value.custom_concurrency_key',
    'does nothing without concurrent_limit',
  ],
  [
    'a key of a step with what is not known',
    flow([step('a', {}, { concurrent_limit: 1, custom_concurrency_key: 'k-$flow' })]),
    '$.value.modules[0].value.custom_concurrency_key',
    '$flow is not known',
  ],
  [
    'a debounce key of a step alone',
    flow([step('a', { debouncing: { debounce_key: 'x' } }, { type: 'script', path: 'f/x/y' })]),
    '$.value.modules[0].debouncing.debounce_key',
    'does nothing without debounce_delay_s',
  ],
  [
    'debouncing of what is no code',
    flow([step('a', { debouncing: { debounce_delay_s: 3 } }, { type: 'identity' })]),
    '$.value.modules[0].debouncing',
    'modules of type rawscript, script, flow are debounced',
  ],
  [
    'debouncing of a step that shares a folder',
    flow([step('a', { debouncing: { debounce_delay_s: 3 } })], { same_worker: true }),
    '$.value.modules[0].debouncing',
    'the steps of a same_worker flow share a folder',
  ],
  [
    'a preprocessor that is debounced',
    flow([], { preprocessor_module: { ...step('preprocessor'), debouncing: { debounce_delay_s: 1 } } }),
    '$.value.preprocessor_module.debouncing',
    'a preprocessor has none',
  ],
  // inputs
  [
    'inputs that are no object',
    flow([step('a', {}, { input_transforms: [] })]),
    '$.value.modules[0].value.input_transforms',
    'expected an object, got an array',
  ],
  [
    'an input that is a bare value',
    flow([step('a', {}, { input_transforms: { x: 3 } })]),
    '$.value.modules[0].value.input_transforms.x',
    "{type: 'static', value}",
  ],
  [
    'an input of no type',
    flow([step('a', {}, { input_transforms: { x: {} } })]),
    '$.value.modules[0].value.input_transforms.x.type',
    'missing; allowed: static, javascript',
  ],
  [
    'an input of an agent',
    flow([step('a', {}, { input_transforms: { x: { type: 'ai' } } })]),
    '$.value.modules[0].value.input_transforms.x.type',
    'does not run the type of input "ai"',
  ],
  [
    'an expression that is no text',
    flow([step('a', {}, { input_transforms: { x: js(3) } })]),
    '$.value.modules[0].value.input_transforms.x.expr',
    'expected JavaScript as text, got a number',
  ],
  [
    'an expression that does not parse',
    flow([step('a'), step('b', {}, { input_transforms: { 'a b': js('{\n  a: 1,\n  b: }') } })]),
    '$.value.modules[1].value.input_transforms["a b"].expr',
    'Unexpected token (line 3, column 6)',
  ],
  [
    'an expression over an unknown name',
    flow([step('a', {}, { input_transforms: { x: js('foo + 1') } })]),
    '$.value.modules[0].value.input_transforms.x.expr',
    "unknown name 'foo'; known here: flow_input, results",
  ],
  [
    'an expression over a variable whose path is computed',
    flow([step('a', {}, { input_transforms: { x: js('variable("u/" + flow_input.x)') } })]),
    '$.value.modules[0].value.input_transforms.x.expr',
    'called with a path that is written out',
  ],
  [
    'a resource of no path',
    flow([step('a', {}, { input_transforms: { x: { type: 'static', value: { db: ['$res:u/d b'] } } } })]),
    '$.value.modules[0].value.input_transforms.x.value.db[0]',
    '"u/d b" is no path of a resource',
  ],
  [
    'a variable of no path in flow_env',
    flow([], { flow_env: { KEY: '$var:' } }),
    '$.value.flow_env.KEY',
    'is no path of a variable',
  ],
  // options of modules
  [
    'skip_if without expr',
    flow([step('a', { skip_if: {} })]),
    '$.value.modules[0].skip_if.expr',
    'expected JavaScript as text, got nothing',
  ],
  [
    'skip_if over its own result',
    flow([step('a', { skip_if: { expr: 'result > 1' } })]),
    '$.value.modules[0].skip_if.expr',
    'result exists only in',
  ],
  [
    'stop_after_if that does not parse',
    flow([step('a', { stop_after_if: { expr: 'result >' } })]),
    '$.value.modules[0].stop_after_if.expr',
    '(line 1, column 9)',
  ],
  [
    'a stop message that is no text',
    flow([step('a', { stop_after_if: { expr: 'true', error_message: 3 } })]),
    '$.value.modules[0].stop_after_if.error_message',
    'expected text',
  ],
  [
    'continue_on_error that is no boolean',
    flow([step('a', { continue_on_error: 1 })]),
    '$.value.modules[0].continue_on_error',
    'expected true or false, got the number 1',
  ],
  ['a mock that is no object', flow([step('a', { mock: true })]), '$.value.modules[0].mock', 'expected an object'],
  [
    'mock.enabled that is no boolean',
    flow([step('a', { mock: { enabled: 'no' } })]),
    '$.value.modules[0].mock.enabled',
    'expected true or false',
  ],
  ['a time-out of nothing', flow([step('a', { timeout: 0 })]), '$.value.modules[0].timeout', 'expected a number from 0.001'],
  ['a time-out that is text', flow([step('a', { timeout: '3s' })]), '$.value.modules[0].timeout', 'got "3s"'],
  [
    'a static time-out that is text',
    flow([step('a', { timeout: { type: 'static', value: 'x' } })]),
    '$.value.modules[0].timeout.value',
    'expected a number',
  ],
  [
    'too many attempts',
    flow([step('a', { retry: { constant: { attempts: 1001, seconds: 1 } } })]),
    '$.value.modules[0].retry.constant.attempts',
    'expected a whole number from 0 to 1000, got 1001',
  ],
  [
    'half an attempt',
    flow([step('a', { retry: { constant: { attempts: 1.5, seconds: 1 } } })]),
    '$.value.modules[0].retry.constant.attempts',
    'a whole number',
  ],
  [
    'a wait beyond six hours',
    flow([step('a', { retry: { constant: { attempts: 1, seconds: 21_601 } } })]),
    '$.value.modules[0].retry.constant.seconds',
    'from 0 to 21600',
  ],
  [
    'a base below one',
    flow([step('a', { retry: { exponential: { attempts: 1, seconds: 0.5 } } })]),
    '$.value.modules[0].retry.exponential.seconds',
    'from 1 to 21600',
  ],
  [
    'a spread above all',
    flow([step('a', { retry: { exponential: { attempts: 1, random_factor: 101 } } })]),
    '$.value.modules[0].retry.exponential.random_factor',
    'from 0 to 100',
  ],
  [
    'a negative multiplier',
    flow([step('a', { retry: { exponential: { attempts: 1, multiplier: -1 } } })]),
    '$.value.modules[0].retry.exponential.multiplier',
    'from 0',
  ],
  ['a retry that is no object', flow([step('a', { retry: 3 })]), '$.value.modules[0].retry', 'expected an object'],
  [
    'retry_if that does not parse',
    flow([step('a', { retry: { retry_if: { expr: ')' } } })]),
    '$.value.modules[0].retry.retry_if.expr',
    'line 1, column 1',
  ],
  [
    'half an answer',
    flow([step('a', { suspend: { required_events: 0.5 } })]),
    '$.value.modules[0].suspend.required_events',
    'expected a whole number from 0',
  ],
  [
    'a form that is none',
    flow([step('a', { suspend: { required_events: 1, resume_form: 'x' } })]),
    '$.value.modules[0].suspend.resume_form',
    'expected an object',
  ],
  [
    'an unknown result of a wait',
    flow([step('a', { suspend: { required_events: 1, result: 'both' } })]),
    '$.value.modules[0].suspend.result',
    '"both" is not known; allowed: step, resume',
  ],
  [
    'a time-out without a value',
    flow([step('a', { suspend: { required_events: 1, on_timeout: {} } })]),
    '$.value.modules[0].suspend.on_timeout',
    'expected {value: …}',
  ],
  [
    'one group, which is no list',
    flow([step('a', { suspend: { required_events: 1, user_groups_required: { type: 'static', value: 'ops' } } })]),
    '$.value.modules[0].suspend.user_groups_required.value',
    'expected a list of names of groups, as ["ops"], 100 at most, got a string',
  ],
  [
    'groups that are no transform',
    flow([step('a', { suspend: { required_events: 1, user_groups_required: ['ops'] } })]),
    '$.value.modules[0].suspend.user_groups_required',
    'expected an object',
  ],
  [
    'groups by an expression that does not parse',
    flow([step('a', { suspend: { required_events: 1, user_groups_required: { type: 'javascript', expr: 'result.' } } })]),
    '$.value.modules[0].suspend.user_groups_required.expr',
    'line 1',
  ],
  [
    'a sleep backwards',
    flow([step('a', { sleep: { type: 'static', value: -3 } })]),
    '$.value.modules[0].sleep.value',
    'expected a number from 0',
  ],
  [
    'a loop without an iterator',
    flow([{ id: 'a', value: { type: 'forloopflow', modules: [] } }]),
    '$.value.modules[0].value.iterator',
    'an input is {type',
  ],
  [
    'a loop without modules',
    flow([{ id: 'a', value: { type: 'forloopflow', iterator: js('[]') } }]),
    '$.value.modules[0].value.modules',
    'expected an array of modules',
  ],
  [
    'a while loop that could never end',
    flow([{ id: 'a', value: { type: 'whileloopflow', modules: [] } }]),
    '$.value.modules[0].value.modules',
    'never ends',
  ],
  [
    'none at a time',
    flow([{ id: 'a', value: { type: 'forloopflow', iterator: js('[]'), modules: [], parallel: true, parallelism: 0 } }]),
    '$.value.modules[0].value.parallelism',
    'expected a whole number from 1',
  ],
  [
    'a fault deep inside',
    flow([
      {
        id: 'a',
        value: {
          type: 'branchone',
          branches: [
            {
              expr: 'true',
              modules: [{ id: 'b', value: { type: 'branchall', branches: [{ modules: [step('c', { timeout: -1 })] }] } }],
            },
          ],
          default: [],
        },
      },
    ]),
    '$.value.modules[0].value.branches[0].modules[0].value.branches[0].modules[0].timeout',
    'expected a number',
  ],
  [
    'an id used inside a branch too',
    flow([step('a'), { id: 'b', value: { type: 'forloopflow', iterator: js('[]'), modules: [step('a')] } }]),
    '$.value.modules[1].value.modules[0].id',
    "'a' is the id of $.value.modules[0] too",
  ],
  [
    'a branch that is none',
    flow([{ id: 'a', value: { type: 'branchall', branches: [4] } }]),
    '$.value.modules[0].value.branches[0]',
    'a branch is an object {modules',
  ],
  [
    'a condition that does not parse',
    flow([{ id: 'a', value: { type: 'branchone', branches: [{ expr: '1 +', modules: [] }], default: [] } }]),
    '$.value.modules[0].value.branches[0].expr',
    'line 1',
  ],
  [
    'a flow without a path',
    flow([{ id: 'a', value: { type: 'flow', input_transforms: {} } }]),
    '$.value.modules[0].value.path',
    'needs a path',
  ],
  [
    'a script of the hub',
    flow([{ id: 'a', value: { type: 'script', path: 'hub/1/x' } }]),
    '$.value.modules[0].value.path',
    'no hub',
  ],
  [
    'a cache of a loop',
    flow([{ id: 'a', value: { type: 'whileloopflow', modules: [step('b')] }, cache_ttl: 60 }]),
    '$.value.modules[0].cache_ttl',
    'results are cached of modules of type rawscript and script',
  ],
  ['a limit that is no number', flow([], { concurrent_limit: 'two' }), '$.value.concurrent_limit', 'a whole number from 0'],
  [
    'a window without a limit',
    flow([], { concurrency_time_window_s: 3 }),
    '$.value.concurrency_time_window_s',
    'concurrent_limit',
  ],
  [
    'a key of an argument that is none',
    flow([], { concurrent_limit: 1, concurrency_key: 'x-$args[a b]' }),
    '$.value.concurrency_key',
    '$args[a b] is not $args[name]',
  ],
  [
    'a key with a name nobody knows',
    flow([], { concurrent_limit: 1, concurrency_key: '$flow' }),
    '$.value.concurrency_key',
    '$flow is not known; a key may hold $workspace and $args[name]',
  ],
  ['a debounce key alone', flow([], { debounce_key: 'x' }), '$.value.debounce_key', 'does nothing without debounce_delay_s'],
  [
    'arguments to accumulate that are no names',
    flow([], { debounce_delay_s: 1, debounce_args_to_accumulate: [1] }),
    '$.value.debounce_args_to_accumulate',
    'an array of names',
  ],
  ['an ordering key that does not parse', flow([], { ordering_key: 'flow_input.' }), '$.value.ordering_key', 'Unexpected'],
  ['an ordering key of a result', flow([], { ordering_key: 'results.a' }), '$.value.ordering_key', 'only flow_input is there'],
  [
    'an ordering key beside a limit',
    flow([], { ordering_key: 'flow_input.a', concurrent_limit: 2 }),
    '$.value.ordering_key',
    'ordering_key or concurrent_limit, not both',
  ],
  // options of flows
  [
    'an unknown durability',
    flow([], { durability: 'fast' }),
    '$.value.durability',
    '"fast" is not known; allowed: pipelined, strict',
  ],
  ['a priority that is no number', flow([], { priority: 'high' }), '$.value.priority', 'expected a number'],
  ['flow_env that is no object', flow([], { flow_env: [] }), '$.value.flow_env', 'expected an object'],
  [
    'a preprocessor that is a loop',
    flow([], { preprocessor_module: { value: { type: 'whileloopflow', modules: [step('b')] } } }),
    '$.value.preprocessor_module.value.type',
    'a preprocessor is a rawscript or a script',
  ],
  [
    'a preprocessor of another name',
    flow([], { preprocessor_module: step('first') }),
    '$.value.preprocessor_module.id',
    "the preprocessor's id is 'preprocessor'",
  ],
  [
    'a preprocessor that waits',
    flow([], { preprocessor_module: { ...step('preprocessor'), suspend: { required_events: 1 } } }),
    '$.value.preprocessor_module.suspend',
    'a preprocessor has none',
  ],
  [
    'early_return of no step',
    flow([step('b')], { early_return: 'a' }),
    '$.value.early_return',
    'is the id of a step of type rawscript, script, identity in the flow\'s own list, got "a"',
  ],
  [
    'a spread loop in a flow with a shared folder',
    flow([{ id: 'l', value: { type: 'forloopflow', iterator: js('[]'), modules: [step('a')], spread: true } }], {
      same_worker: true,
    }),
    '$.value.modules[0].value.spread',
    'share a folder of one worker',
  ],
  [
    'a deletion before the end',
    flow([step('a', { delete_after_secs: -1 })]),
    '$.value.modules[0].delete_after_secs',
    'from 0 to',
  ],
  ['a deletion at half a second', flow([], { delete_after_secs: 0.5 }), '$.value.delete_after_secs', 'expected a whole number'],
  ['a conversation', flow([], { chat_input_enabled: true }), '$.value.chat_input_enabled', 'does not keep conversations'],
  [
    'a failure module by another name',
    flow([], { failure_module: step('x') }),
    '$.value.failure_module.id',
    "the failure module's id is 'failure', got \"x\"",
  ],
  [
    'a failure module without code',
    flow([], { failure_module: { id: 'failure', value: { type: 'identity' } } }),
    '$.value.failure_module.value.type',
    'a failure module is a rawscript',
  ],
  [
    'a fault in the failure module',
    flow([], { failure_module: step('failure', {}, { language: 'x' }) }),
    '$.value.failure_module.value.language',
    'unknown language',
  ],
]

test.each(bad)('%s is refused with its place', (_what, document, at, message) => {
  const fault = faultOf(document)
  expect([fault.code, fault.status, fault.details.at]).toEqual(['E_FLOW_INVALID', 400, at])
  expect(fault.message).toContain(`${at}: `)
  expect(fault.message).toContain(message)
})

test.each([
  ['NUL in text', flow([step('a', {}, { content: 'a\0b' })]), '$.value.modules[0].value.content'],
  ['half a surrogate pair', { ...flow([]), summary: '\ud800' }, '$.summary'],
  ['deep nesting', { ...flow([]), schema: { x: nested(20) } }, '$.schema.x' + '[0]'.repeat(18)],
])('%s cannot be stored', (_what, document, at) => {
  const fault = faultOf(document)
  expect([fault.code, fault.status, fault.details.at]).toEqual(['E_JSON', 400, at])
})

test('a document that contains itself is refused', () => {
  expect(faultOf(cyclic).message).toContain('nested too deeply')
})

test('several faults are told at once, up to ten, in the order of the document', () => {
  const two = faultOf(flow([step('a', { skip_if: { expr: ')' } }), step('a', {}, { language: 'x' })]))
  expect(two.message.split('\n').map((line) => line.split(': ')[0])).toEqual([
    '$.value.modules[0].skip_if.expr',
    '$.value.modules[1].id',
    '$.value.modules[1].value.language',
  ])
  const inputs = Object.fromEntries(Array.from({ length: 14 }, (_, i) => [`x${i}`, 3]))
  const many = faultOf(flow([step('a', {}, { input_transforms: inputs })])).message.split('\n')
  expect(many).toHaveLength(11)
  expect(many.at(-1)).toBe('and 4 more')
})

test('one fault is told once', () => {
  expect(
    faultOf(
      flow([3, null, { value: { type: 'identity' } }, { value: { type: 'identity' } }], { failure_module: 4 }),
    ).message.split('\n'),
  ).toHaveLength(5)
})

test('what would be accepted comes with the fault', () => {
  expect(faultOf(flow([{ id: 'a', value: { type: 'x' } }])).details.allowed).toContain('branchall')
  expect(faultOf(flow([step('a', {}, { input_transforms: { x: js('zzz') } })])).details.allowed).toContain('flow_input')
})

describe('what is accepted', () => {
  test('everything this version runs, given back as it came', () => {
    const document = {
      path: 'f/shop/order',
      summary: 'Orders',
      description: 'from the shop',
      tag: 'shop',
      dedicated_worker: true,
      schema: { type: 'object', properties: { x: { type: 'number' } } },
      labels: ['a'],
      value: {
        modules: [
          step(
            'a',
            {
              summary: 'first',
              skip_if: { expr: 'flow_input.x > 3' },
              stop_after_if: {
                expr: 'result == undefined',
                skip_if_stopped: true,
                error_message: null,
                error_include_result: false,
              },
              retry: {
                constant: { attempts: 2, seconds: 1 },
                exponential: { attempts: 3, multiplier: 1, seconds: 2, random_factor: 10 },
                retry_if: { expr: 'error.name == "Timeout"' },
              },
              continue_on_error: true,
              timeout: { type: 'javascript', expr: 'flow_input.seconds' },
              mock: { enabled: false, return_value: { any: 'thing' } },
              priority: 3,
            },
            {
              input_transforms: { x: js('flow_input.x'), y: { type: 'static', value: [1] }, z: { type: 'static' } },
              lock: null,
              assets: [],
              is_trigger: false,
            },
          ),
          { id: 'b-2_c', value: { type: 'identity' } },
        ],
        failure_module: step('failure', {}, { input_transforms: { e: js('error.message') } }),
        flow_env: { REGION: 'eu', DEEP: { a: 1 } },
        durability: 'strict',
        priority: 5,
        notes: [{ id: 'n', text: 'a note', position: { x: 1 } }],
        groups: [],
        chat_input_enabled: false,
        a_field_of_tomorrow: { a: 1 },
      },
    }
    expect(parseFlow(document, limits)).toEqual(document)
    expect(parseFlowValue(document.value, limits)).toEqual(document.value)
  })

  test('the least: a value with no modules', () => {
    expect(parseFlow({ value: { modules: [] } }, limits)).toEqual({
      summary: '',
      description: '',
      schema: null,
      value: { modules: [] },
    })
  })

  test('no group, as editors write that, is as if the field were not there', () => {
    for (const groups of [null, { type: 'static' }, { type: 'static', value: null }, { type: 'static', value: [] }]) {
      const suspend = { required_events: 1, user_auth_required: true, user_groups_required: groups }
      const parsed = parseFlow(flow([step('a', { suspend })]), limits)
      expect(parsed.value.modules[0]!.suspend).toEqual({ required_events: 1, user_auth_required: true })
    }
  })

  test('null for anything not set, and fields of other features that are switched off', () => {
    const off = {
      sleep: null,
      cache_ttl: 0,
      suspend: { required_events: 0 },
      delete_after_use: false,
      debouncing: { debounce_delay_s: 0, debounce_key: '' },
      skip_if: null,
      stop_after_if: null,
      retry: null,
      timeout: null,
      mock: null,
    }
    const value = {
      same_worker: false,
      failure_module: null,
      preprocessor_module: null,
      concurrency_key: '',
      durability: null,
      flow_env: null,
    }
    const parsed = parseFlow(
      { ...flow([step('a', { ...off, continue_on_error: null }, { tag: '' })], value), timeout: null, description: null },
      limits,
    )
    expect(parsed.value.modules[0]).not.toHaveProperty('skip_if')
    expect(parsed.value.modules[0]).not.toHaveProperty('retry')
    expect(parsed.value).not.toHaveProperty('failure_module')
    expect(parsed.description).toBe('')
  })

  test('the older form of a deletion after use', () => {
    const { value } = parseFlow(
      flow([step('a', { delete_after_use: true })], { delete_after_use: true, delete_after_secs: 60 }),
      limits,
    )
    expect(value).toMatchObject({ delete_after_secs: 60, modules: [{ delete_after_secs: 0 }] })
    expect(value).not.toHaveProperty('delete_after_use')
  })

  test('older forms: a time-out as a number, no input transforms, retries that leave fields out', () => {
    const [first, second] = parseFlow(
      flow([
        step('a', { timeout: 30, retry: { constant: { attempts: 2 }, exponential: null } }, { input_transforms: undefined }),
        step('b', {
          timeout: { type: 'static', value: null },
          retry: { constant: {}, exponential: { attempts: 0, seconds: 0 } },
        }),
      ]),
      limits,
    ).value.modules
    expect(first).toMatchObject({
      timeout: 30,
      retry: { constant: { attempts: 2, seconds: 0 } },
      value: { input_transforms: {} },
    })
    expect(first!.retry).not.toHaveProperty('exponential')
    expect(second).not.toHaveProperty('timeout')
    expect(second!.retry!.exponential).toMatchObject({ attempts: 0, multiplier: 1 })
  })

  test('a failure module without an id is given its own', () => {
    const module = step('x')
    delete module['id']
    expect(parseFlowValue({ modules: [], failure_module: module }, limits).failure_module!.id).toBe('failure')
  })
})

test('any JSON in any place is accepted or refused with a place, and never changed', () => {
  const document = flow(
    [
      step(
        'a',
        {
          skip_if: { expr: 'true' },
          retry: { constant: { attempts: 1, seconds: 1 }, exponential: {} },
          timeout: { type: 'static', value: 1 },
        },
        {
          input_transforms: { x: js('flow_input.x') },
        },
      ),
      step('b', { stop_after_if: { expr: 'result' }, mock: {}, suspend: {} }),
    ],
    { failure_module: step('failure'), flow_env: { A: 1 }, durability: 'strict' },
  )
  const places: string[][] = [[]]
  const visit = (value: unknown, path: string[]): void => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, inner] of Object.entries(value)) {
      places.push([...path, key])
      visit(inner, [...path, key])
    }
  }
  visit(document, [])
  fc.assert(
    fc.property(fc.constantFrom(...places), fc.jsonValue({ maxDepth: 3 }), (place, value) => {
      const changed = structuredClone({ document }) as Record<string, unknown>
      let holder = changed
      const path = ['document', ...place]
      for (const key of path.slice(0, -1)) holder = holder[key] as Record<string, unknown>
      holder[path.at(-1)!] = value
      const before = JSON.stringify(changed)
      let fault: unknown = null
      try {
        parseFlow(changed['document'], limits)
      } catch (thrown) {
        fault = thrown
      }
      expect(JSON.stringify(changed)).toBe(before)
      expect(fault === null || (fault instanceof EngineError && fault.details.at!.startsWith('$'))).toBe(true)
    }),
    { numRuns: 1_000 },
  )
})
