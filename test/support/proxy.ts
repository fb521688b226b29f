// A TCP proxy that can cut its connections, or freeze: take everything and pass on nothing, as a broken network does.
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import { connect, createServer } from 'node:net'

export interface Proxy {
  /** The given database URL, by way of the proxy. */
  url: string
  /** Connections that are open now. */
  connections(): number
  /** Holds back all bytes of the connections there are; new ones are not affected. */
  freeze(): void
  /** Closes every connection. */
  cut(): void
  /** Refuses new connections, until `admit`. */
  refuse(): void
  admit(): void
  close(): Promise<void>
}

export async function startProxy(databaseUrl: string): Promise<Proxy> {
  const target = new URL(databaseUrl)
  const pairs = new Set<[Socket, Socket]>()
  let refuses = false
  const server = createServer((near) => {
    if (refuses) {
      near.destroy()
      return
    }
    const far = connect({ host: target.hostname, port: Number(target.port || 5432) })
    const pair: [Socket, Socket] = [near, far]
    pairs.add(pair)
    for (const socket of pair) {
      socket.on('error', () => {}) // its close follows
      socket.on('close', () => {
        pairs.delete(pair)
        near.destroy()
        far.destroy()
      })
    }
    near.pipe(far).pipe(near)
  })
  server.listen({ port: 0, host: '127.0.0.1' })
  await once(server, 'listening')
  const url = new URL(databaseUrl)
  url.hostname = '127.0.0.1'
  url.port = String((server.address() as AddressInfo).port)

  function cut(): void {
    for (const [near, far] of pairs) {
      near.destroy()
      far.destroy()
    }
  }
  return {
    url: url.href,
    connections: () => pairs.size,
    freeze() {
      for (const [near, far] of pairs) {
        near.unpipe(far)
        far.unpipe(near)
        near.resume() // taken, and lost
        far.resume()
      }
    },
    cut,
    refuse: () => void (refuses = true),
    admit: () => void (refuses = false),
    async close() {
      cut()
      server.close()
      await once(server, 'close')
    },
  }
}
