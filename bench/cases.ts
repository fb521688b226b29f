// Every case of `npm run bench`, by name. `small` runs it tiny, as the tests do.
import { setRecording } from '../src/store/audit.ts'
import { approvals } from './load/approvals.ts'
import { backlog } from './load/backlog.ts'
import { drain } from './load/drain.ts'
import { httpEnqueue } from './load/http.ts'
import { openLoop, waitResult } from './load/latency.ts'
import { overload } from './load/overload.ts'
import type { Rig } from './load/rig.ts'
import type { Measured } from './result.ts'

export interface Known {
  /** Flows/s of drain-3-typescript in this run, once measured. */
  peak: number | null
}

export interface Case {
  name: string
  text: string
  run(rig: Rig, small: boolean, known: Known): Promise<Measured>
}

// What half-load halves when drain-3-typescript was not asked for: measured first, but not reported.
async function peakOf(rig: Rig, small: boolean, known: Known): Promise<number> {
  known.peak ??= (await drain(rig, 'ts3', 3, small ? 500 : 40_000)).jobsPerSecond!
  return known.peak
}

export const cases: readonly Case[] = [
  {
    name: 'drain-3-typescript',
    text: 'backlog through a flow of 3 TypeScript steps',
    async run(rig, small, known) {
      const measured = await drain(rig, 'ts3', 3, small ? 500 : 60_000)
      known.peak = measured.jobsPerSecond!
      return measured
    },
  },
  {
    name: 'drain-3-python',
    text: 'the same in Python',
    run: (rig, small) => drain(rig, 'py3', 3, small ? 500 : 40_000),
  },
  {
    name: 'drain-3-mixed',
    text: 'TypeScript, Python, TypeScript',
    run: (rig, small) => drain(rig, 'mixed3', 3, small ? 500 : 40_000),
  },
  {
    name: 'drain-1-typescript',
    text: 'jobs of a single TypeScript step',
    run: (rig, small) => drain(rig, 'ts1', 1, small ? 500 : 80_000),
  },
  {
    name: 'drain-3-recorded',
    text: 'drain-3-typescript in audit mode',
    async run(rig, small) {
      await setRecording(rig.db, 'on')
      try {
        return await drain(rig, 'ts3', 3, small ? 500 : 40_000)
      } finally {
        await setRecording(rig.db, 'off')
        await setRecording(rig.db, 'clear')
      }
    },
  },
  {
    name: 'flow-40-fibo10',
    text: 'one flow of 40 × fibo(10), idle machine, submit → result',
    run: (rig, small) => waitResult(rig, 'fibo10', 40, small ? 5 : 100),
  },
  {
    name: 'flow-10-fibo33',
    text: 'one flow of 10 × fibo(33), idle machine, submit → result',
    run: (rig, small) => waitResult(rig, 'fibo33', 10, small ? 2 : 10),
  },
  {
    name: 'idle-latency',
    text: 'a job of 1 step, idle machine, submit → result',
    run: (rig, small) => waitResult(rig, 'ts1', 1, small ? 20 : 1_000),
  },
  {
    name: 'open-loop-2660',
    text: '2,660 flows/s of 3 steps offered, due → recorded',
    run: (rig, small) => openLoop(rig, 'ts3', 3, { perSecond: small ? 100 : 2_660, seconds: small ? 1 : 30 }),
  },
  {
    name: 'half-load',
    text: 'half of our peak offered, due → recorded',
    async run(rig, small, known) {
      const peak = await peakOf(rig, small, known)
      return openLoop(rig, 'ts3', 3, { perSecond: small ? 100 : peak / 2, seconds: small ? 1 : 30 })
    },
  },
  {
    name: 'http-single',
    text: 'events accepted, one per request',
    run: (rig, small) => httpEnqueue(rig, { batch: 1, connections: small ? 4 : 64, seconds: small ? 1 : 8 }),
  },
  {
    name: 'http-batch',
    text: 'events accepted, 200 per request',
    run: (rig, small) => httpEnqueue(rig, { batch: small ? 10 : 200, connections: small ? 2 : 8, seconds: small ? 1 : 8 }),
  },
  {
    name: 'backlog-1m',
    text: 'a backlog of 1,000,000 jobs',
    run: (rig, small) => backlog(rig, 'ts3', 3, { jobs: small ? 6_000 : 1_000_000, seconds: small ? 1 : 10 }),
  },
  {
    name: 'approvals',
    text: '1,000 flows wait; 32 callers answer each at the same moment, first answer → last end',
    run: (rig, small) => approvals(rig, small ? { flows: 20, racing: 4 } : { flows: 1_000, racing: 32 }),
  },
  {
    name: 'overload',
    text: 'three times our peak offered over HTTP (BENCH_MINUTES, or 1): what is accepted finishes, memory stays',
    run(rig, small) {
      const seconds = small ? 2 : Math.round(Number(process.env['BENCH_MINUTES'] ?? 1) * 60)
      return overload(rig, { seconds, jobs: small ? 500 : 40_000, connections: small ? 8 : 128 })
    },
  },
]
