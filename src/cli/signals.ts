// How long-lived commands are asked to end: once to drain, a second time to stop at once.

const againMs = 750 // npm passes on the Ctrl-C that the terminal already sent: that is one request, not two
const parentMs = 500

export interface Ending {
  stop: AbortSignal
  /** The second request. */
  force: AbortSignal
  /** Ends it from within. */
  end(): void
}

export function listenForEnd(told: (request: 'stop' | 'force') => void): Ending {
  const stop = new AbortController()
  const force = new AbortController()
  let firstMs = 0
  const asked = () => {
    if (!stop.signal.aborted) {
      firstMs = performance.now()
      told('stop')
      stop.abort()
    } else if (performance.now() - firstMs > againMs && !force.signal.aborted) {
      told('force')
      force.abort()
    }
  }
  // npm hands SIGTERM to the shell between it and us, which dies of it without a word.
  if (process.env['npm_lifecycle_event'] !== undefined) {
    const parent = process.ppid
    const timer = setInterval(() => {
      if (process.ppid === parent) return
      clearInterval(timer)
      if (!stop.signal.aborted) asked()
    }, parentMs).unref()
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, asked)
  return { stop: stop.signal, force: force.signal, end: asked }
}
