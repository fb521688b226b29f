// Preloaded into servers and workers of a chaos run (--import): their wall clock is off by what a file says, and jumps when the file
// changes. Postgres's clock, and the monotonic one, stay as they are.
import { readFileSync } from 'node:fs'

const file = process.env.CHAOS_CLOCK_FILE
const RealDate = Date
let offsetMs = 0

if (file) {
  setInterval(() => {
    try {
      offsetMs = Number(readFileSync(file, 'utf8')) || 0
    } catch {
      offsetMs = 0
    }
  }, 50).unref()
  globalThis.Date = class Date extends RealDate {
    constructor(...args) {
      if (args.length === 0) super(RealDate.now() + offsetMs)
      else super(...args)
    }
    static now() {
      return RealDate.now() + offsetMs
    }
  }
}
