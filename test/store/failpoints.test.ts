import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { createFailpoints } from '../../src/store/failpoints.ts'

const points = (plan: string, recordFile?: string) => createFailpoints({ plan, recordFile })

test('an action is done at its hit, once', () => {
  const failpoints = points('finish_jobs:after@2=lost; commit:before=error(40001)')
  expect(failpoints.reach('finish_jobs', 'after')).toBeUndefined()
  expect(failpoints.reach('finish_jobs', 'before')).toBeUndefined()
  expect(failpoints.reach('finish_jobs', 'after')).toEqual({ kind: 'lost' })
  expect(failpoints.reach('finish_jobs', 'after')).toBeUndefined()
  expect(failpoints.reach('commit', 'before')).toEqual({ kind: 'error', code: '40001' })
})

test('everything reached is recorded with its count, and what was done there', () => {
  const file = join(mkdtempSync(join(tmpdir(), 'millrace-failpoints-')), 'record')
  const failpoints = points('http.POST /api/w/:ws/jobs/run/f/*:before@2=lost', file)
  failpoints.reach('runner.call', 'before')
  failpoints.reach('http.POST /api/w/:ws/jobs/run/f/*', 'before')
  failpoints.reach('http.POST /api/w/:ws/jobs/run/f/*', 'before')
  expect(readFileSync(file, 'utf8').split('\n')).toEqual([
    'runner.call:before@1',
    'http.POST /api/w/:ws/jobs/run/f/*:before@1',
    'http.POST /api/w/:ws/jobs/run/f/*:before@2',
    'http.POST /api/w/:ws/jobs/run/f/*:before@2 done: lost',
    '',
  ])
})

test.each([
  ['finish_jobs=exit', /"finish_jobs=exit" is no failpoint; write <point>:before\|after/],
  ['finish_jobs:during=exit', /is no failpoint/],
  ['finish_jobs:after@0=exit', /is no failpoint/],
  [
    'finish_jobs:after=explode',
    /"explode" cannot be done at finish_jobs:after; possible are exit, pause\(<ms>\), lost, error\(<code>\)/,
  ],
  ['finish_jobs:after=pause', /"pause" cannot be done/],
  ['finish_jobs:after=pause(long)', /cannot be done/],
  ['runner.result:before=lost', /possible are exit, pause\(<ms>\)$/],
  ['listen.millrace_work:after=lost', /possible are exit, pause\(<ms>\)$/],
  ['http.GET /ready:before=error(08006)', /possible are exit, pause\(<ms>\), lost$/],
])('%j is refused, with what could be written', (plan, message) => {
  expect(() => points(plan)).toThrow(message)
})
