// Variables and resources in flows: named in inputs, arguments, flow_env and expressions.
import type { InputTransform } from '../../src/core/flow/definition.ts'
import { each, flow, give, type FlowCase } from './cases.ts'

const kept = {
  variables: { 'f/look/key': 'open sesame', 'f/look/empty': '' },
  resources: {
    'f/look/db': { host: 'db.example.org', port: 5432, password: '$var:f/look/key', tags: ['a', 'b'] },
    'f/look/app': { db: '$res:f/look/db' },
    'f/look/circle': { again: ['$res:f/look/circle'] },
  },
}
const db = { host: 'db.example.org', port: 5432, password: 'open sesame', tags: ['a', 'b'] }

/** A step that gives what its input is. */
function given(id: string, x: InputTransform): FlowCase['modules'][number] {
  const step = give(id, '0')
  return { ...step, value: { ...step.value, input_transforms: { x } } as typeof step.value }
}
const fixed = (id: string, value: unknown) => given(id, { type: 'static', value } as InputTransform)
const fault = (error: object): FlowCase['result'] => ({ error })

export const lookups: FlowCase[] = [
  {
    name: 'a variable and a resource in static inputs, whole or deep inside',
    kept,
    modules: [
      fixed('a', '$var:f/look/key'),
      fixed('b', { list: ['$res:f/look/db', '$var:f/look/empty'], '$var:f/key': 'no $var:f/look/key' }),
      give('all', '[results.a, results.b]'),
    ],
    result: ['open sesame', { list: [db, ''], '$var:f/key': 'no $var:f/look/key' }],
  },
  {
    name: 'a resource that names another one',
    kept,
    modules: [fixed('a', '$res:f/look/app'), give('b', 'results.a.db.password')],
    result: 'open sesame',
  },
  {
    name: 'arguments of the job, handed on to a step',
    kept,
    modules: [give('a', 'flow_input')],
    args: { db: '$res:f/look/db', deep: [{ key: '$var:f/look/key' }], plain: 1 },
    result: { db, deep: [{ key: 'open sesame' }], plain: 1 },
  },
  {
    name: 'an expression sees the name where the step gets the value',
    kept,
    modules: [give('a', 'flow_input.key.length'), give('b', '"$var:" + flow_input.path'), give('c', '[results.a, results.b]')],
    args: { key: '$var:f/look/key', path: 'f/look/key' },
    result: ['$var:f/look/key'.length, 'open sesame'],
  },
  {
    name: 'arguments go through a sub-flow and a script by name',
    kept,
    deploy: {
      'f/look/inner': { modules: [give('a', '[flow_input.key, flow_input.static]')] },
    },
    modules: [
      {
        id: 's',
        value: {
          type: 'flow',
          path: 'f/look/inner',
          input_transforms: {
            key: { type: 'javascript', expr: 'flow_input.key' },
            static: { type: 'static', value: '$var:f/look/key' },
          },
        },
      },
    ],
    args: { key: '$var:f/look/key' },
    result: ['open sesame', 'open sesame'],
  },
  {
    name: 'variable() and resource() in inputs, conditions, branches and loops',
    kept,
    modules: [
      give('a', '`${resource("f/look/db").host}:${variable("f/look/key")}`'),
      give('skipped', '1', { skip_if: { expr: 'variable("f/look/key") === "open sesame"' } }),
      each('l', 'resource("f/look/db").tags', [give('i', 'flow_input.iter.value + await variable("f/look/empty")')]),
      {
        id: 'choice',
        value: {
          type: 'branchone',
          branches: [{ expr: 'resource("f/look/db").port > 5000', modules: [give('high', '"high"')] }],
          default: [],
        },
      },
      give('all', '[results.a, results.l, results.choice]'),
    ],
    result: ['db.example.org:open sesame', ['a', 'b'], 'high'],
  },
  {
    name: 'flow_env names them',
    kept,
    value: { flow_env: { key: '$var:f/look/key', db: '$res:f/look/db', list: ['$var:f/look/key'], plain: 2 } },
    modules: [
      give('a', 'flow_env.key'),
      give('b', 'flow_env.db.host'),
      give('c', 'flow_env.list.concat(flow_env.plain)'),
      each('l', 'flow_env.db.tags', [give('i', 'flow_env.key.length')], { parallel: true }),
      give('all', '[results.a, results.b, results.c, results.l]'),
    ],
    result: ['open sesame', 'db.example.org', ['open sesame', 2], [11, 11]],
  },
  {
    name: 'a whole flow is skipped by a variable',
    kept,
    value: { skip_expr: 'variable("f/look/empty") === ""' },
    modules: [give('a', '1')],
    status: 'skipped',
    result: {},
  },
  {
    name: 'iterations that run at a time look up',
    kept,
    modules: [
      each('l', '[1, 2, 3]', [give('a', 'variable("f/look/key") + flow_input.iter.value'), fixed('b', '$var:f/look/key')], {
        parallel: true,
      }),
    ],
    result: ['open sesame', 'open sesame', 'open sesame'],
  },
  {
    name: 'iterations that are jobs look up',
    kept,
    modules: [
      each('l', '[1, 2, 3]', [fixed('b', '$var:f/look/key'), give('a', 'results.b + variable("f/look/empty")')], {
        parallel: true,
        spread: true,
      }),
    ],
    result: ['open sesame', 'open sesame', 'open sesame'],
  },
  {
    name: 'a static input that names nothing that exists fails the step, and says which',
    kept,
    modules: [fixed('a', { key: '$var:f/look/none' })],
    status: 'failure',
    result: fault({ name: 'LookupError', message: 'input "x": variable f/look/none: there is none', step_id: 'a' }),
  },
  {
    name: 'an expression over what does not exist fails the step, and says which',
    kept,
    modules: [give('a', '[variable("f/look/none")]')],
    status: 'failure',
    result: fault({ name: 'ExpressionError', message: 'input "x": variable f/look/none: there is none' }),
  },
  {
    name: 'a condition over what does not exist fails the step',
    kept,
    modules: [give('a', '1', { skip_if: { expr: 'resource("f/look/none").x' } })],
    status: 'failure',
    result: fault({ name: 'ExpressionError', message: 'resource f/look/none: there is none' }),
  },
  {
    name: 'a resource that names itself fails the step',
    kept,
    modules: [fixed('a', '$res:f/look/circle')],
    status: 'failure',
    result: fault({ message: 'input "x": resource f/look/circle → resource f/look/circle: it names itself' }),
  },
  {
    name: 'a step that fails for want of a variable is tried again',
    kept,
    modules: [
      { ...fixed('a', '$var:f/look/none'), retry: { constant: { attempts: 2, seconds: 0 } }, continue_on_error: true },
      give('b', 'results.a.error.name'),
    ],
    ran: { a: 3 },
    result: 'LookupError',
  },
  {
    name: 'a step whose result is cached is called with the value',
    kept,
    modules: [{ ...fixed('a', '$var:f/look/key'), cache_ttl: 60 }],
    result: 'open sesame',
  },
  {
    name: 'durable before the next step: strict',
    kept,
    value: { durability: 'strict' },
    modules: [
      fixed('a', '$var:f/look/key'),
      give('b', 'results.a + variable("f/look/empty")', { stop_after_if: { expr: 'resource("f/look/db").port === 5432' } }),
      give('c', '1'),
    ],
    result: 'open sesame',
  },
  {
    name: 'a sub-flow in another flow sees its own flow_env',
    kept,
    deploy: { 'f/look/env': { modules: [give('a', 'flow_env.key')], value: { flow_env: { key: '$var:f/look/key' } } } },
    modules: [flow('s', 'f/look/env')],
    result: 'open sesame',
  },
]
