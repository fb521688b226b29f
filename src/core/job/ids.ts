// Ids of jobs and steps (RFC 9562, UUIDv7).
//   I1. A job's id has its low 16 bits zero; the n-th step it starts has the same id with n there.
//   I2. Ids of one generator grow, so a batch is stored in the order it arrived.
//   I3. Pure: time and randomness come in.

const hex4 = Array.from({ length: 65_536 }, (_, n) => n.toString(16).padStart(4, '0'))

/** A generator of job ids. `random48` gives an integer in [0, 2^48). */
export function createJobIds(random48: () => number): (nowMs: number) => string {
  let lastMs = 0
  let sequence = 0 // the 12 bits after the version: order within a millisecond
  return (nowMs) => {
    if (nowMs > lastMs) {
      lastMs = nowMs
      sequence = 0
    } else if (++sequence > 0xfff) {
      lastMs += 1 // a full millisecond borrows from the next, so order holds
      sequence = 0
    }
    const random = random48()
    const high = Math.floor(random / 0x1_0000_0000) & 0x3fff
    const middle = Math.floor(random / 0x1_0000) & 0xffff
    const low = random & 0xffff
    const time = lastMs
    return (
      hex4[Math.floor(time / 0x1_0000_0000)]! +
      hex4[Math.floor(time / 0x1_0000) & 0xffff]! +
      '-' +
      hex4[time & 0xffff]! +
      '-' +
      hex4[0x7000 | sequence]! +
      '-' +
      hex4[0x8000 | high]! +
      '-' +
      hex4[middle]! +
      hex4[low]! +
      '0000'
    )
  }
}

/** The id of the n-th step a job started (n from 1). */
export function stepIdOf(jobId: string, n: number): string {
  return jobId.slice(0, 32) + hex4[n]!
}

/** The job a step belongs to; a job's id gives itself. */
export function jobIdOf(id: string): string {
  return id.slice(0, 32) + '0000'
}

/** Which step of its job an id names; 0 is the job itself. */
export function stepNumberOf(id: string): number {
  return Number.parseInt(id.slice(32), 16)
}

/** When a job was accepted, in ms since 1970. */
export function acceptedAtMs(id: string): number {
  return Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16)
}

/** The smallest id that a job accepted at this time can have. */
export function firstIdAt(ms: number): string {
  const time = ms.toString(16).padStart(12, '0')
  return `${time.slice(0, 8)}-${time.slice(8)}-7000-8000-000000000000`
}

const pattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i

export function isUuid(text: string): boolean {
  return pattern.test(text)
}
