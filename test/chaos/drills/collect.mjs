// Preloaded into the server and the worker of a soak (`--import collect.mjs?into=<folder>`): everything is collected every ten seconds, so that
// what their memory grows by is what they keep. Left to itself, V8 lets garbage that got old lie for hours where little does: a promoted
// kilobyte a second is 3.5 MiB/h until it is collected. What is resident then, and what of it are objects in use, is a line of a
// file named by the process, in MiB.
import { appendFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { join } from 'node:path'

const file = join(new URL(import.meta.url).searchParams.get('into'), String(process.pid))
const session = new Session()
session.connect()
setInterval(() => {
  // As if memory ran out: gc() would leave the room that short-lived objects had, which is tens of MiB, now more and now less.
  session.post('HeapProfiler.collectGarbage', () => {
    const { rss, heapUsed } = process.memoryUsage()
    appendFileSync(file, `${rss / 1_048_576} ${heapUsed / 1_048_576}\n`)
  })
}, 10_000).unref()
