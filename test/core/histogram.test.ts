import { Registry } from 'prom-client'
import { expect, test } from 'vitest'
import { Histogram } from '../../src/core/histogram.ts'
import { exposeIn } from '../../src/core/prometheus.ts'

test('a value is counted under the first bound it does not exceed', () => {
  const histogram = new Histogram([1, 10])
  for (const value of [0, 1, 1.5, 10, 11]) histogram.add(value)
  expect([...histogram.counts]).toEqual([2, 2, 1])
  expect(histogram.sum).toBe(23.5)
})

test('what is exposed is what Prometheus expects: cumulative buckets, escaped labels, nothing for what is not known', async () => {
  const registry = new Registry()
  const expose = exposeIn(registry)
  const histogram = new Histogram([0.5, 1])
  for (const value of [0.1, 0.7, 5]) histogram.add(value)
  expose.histogram({ name: 'h_seconds', help: 'H' }, histogram)
  expose.counter({ name: 'c_total', help: 'C' }, () => 3)
  expose.gauge({ name: 'g', help: 'G' }, () => [{ labels: { tag: 'a"b\n' }, value: 1 }])
  expose.gauge({ name: 'unknown', help: 'U' }, () => null)
  expect((await registry.metrics()).split('\n').filter((line) => line !== '')).toEqual([
    '# HELP h_seconds H',
    '# TYPE h_seconds histogram',
    'h_seconds_bucket{le="0.5"} 1',
    'h_seconds_bucket{le="1"} 2',
    'h_seconds_bucket{le="+Inf"} 3',
    'h_seconds_sum 5.8',
    'h_seconds_count 3',
    '# HELP c_total C',
    '# TYPE c_total counter',
    'c_total 3',
    '# HELP g G',
    '# TYPE g gauge',
    'g{tag="a\\"b\\n"} 1',
    '# HELP unknown U',
    '# TYPE unknown gauge',
  ])
})
