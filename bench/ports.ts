// Ports for servers that are told theirs before they start (a process of ours, pgbouncer, Postgres).
import { once } from 'node:events'
import { createServer } from 'node:net'

// Below those the system gives to whoever asks for any (from 32768 on), and to connections: none of them takes it before it is used.
const from = 15_000
const to = 32_000

/** A port that nothing listens on at 127.0.0.1, by chance: two callers at once rarely get the same. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = from + Math.floor(Math.random() * (to - from))
    const server = createServer().listen({ port, host: '127.0.0.1' })
    try {
      await once(server, 'listening')
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') continue
      throw error
    }
    server.close()
    await once(server, 'close')
    return port
  }
}
