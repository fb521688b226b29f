import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, afterEach, expect, test } from 'vitest'
import type { Listener, ListenerEvent } from '../../src/store/listen.ts'
import { openDatabase } from '../../src/store/db.ts'
import { createListener } from '../../src/store/listen.ts'
import { testDatabase } from '../support/database.ts'
import { startProxy } from '../support/proxy.ts'

const db = await testDatabase()
const proxy = await startProxy(db.url)
const behindProxy = openDatabase({ url: proxy.url, name: 'test', poolMax: 1 })
afterAll(() => behindProxy.close())
afterAll(() => proxy.close())

const listeners: Listener[] = []
afterEach(async () => {
  proxy.admit()
  await Promise.all(listeners.splice(0).map((listener) => listener.close()))
})

/** Things that happen, in order, and a way to wait for the next. */
function sequence<T>(): { push: (value: T) => void; next: () => Promise<T> } {
  const values: T[] = []
  const waiting: ((value: T) => void)[] = []
  return {
    push(value) {
      const waiter = waiting.shift()
      if (waiter) waiter(value)
      else values.push(value)
    },
    next: () => (values.length > 0 ? Promise.resolve(values.shift()!) : new Promise((resolve) => waiting.push(resolve))),
  }
}

async function listen(url: string) {
  const heard = sequence<string>()
  const connected = sequence<'connected'>()
  const reports = sequence<ListenerEvent>()
  const listener = await createListener({
    db: url === db.url ? db : behindProxy,
    channels: {
      'millrace "work"': (payload) => heard.push(`work:${payload}`),
      control: (payload) => heard.push(`control:${payload}`),
    },
    onConnect: () => connected.push('connected'),
    report: reports.push,
  })
  listeners.push(listener)
  return { listener, heard, connected, reports }
}

async function notify(channel: string, payload: string): Promise<void> {
  await db.pool.query('select pg_notify($1, $2)', [channel, payload])
}

async function listeningBackends(): Promise<number[]> {
  const { rows } = await db.pool.query<{ pid: number }>(
    `select pid from pg_stat_activity where application_name = 'millrace listen' and datname = current_database()`,
  )
  return rows.map((row) => row.pid)
}

async function noBackendLeft(): Promise<void> {
  while ((await listeningBackends()).length > 0) await pause(20)
}

test('a notification reaches its channel with its payload, over one connection for all channels', async () => {
  const { heard, connected } = await listen(db.url)
  expect(await connected.next()).toBe('connected')
  await notify('millrace "work"', 'tag a')
  await notify('other', 'not for us')
  await notify('control', '')
  expect([await heard.next(), await heard.next()]).toEqual(['work:tag a', 'control:'])
  expect(await listeningBackends()).toHaveLength(1)
})

test('a connection that the server ends is made again, and onConnect says so', async () => {
  const { heard, connected, reports } = await listen(db.url)
  await connected.next()
  for (const round of ['1', '2']) {
    for (const pid of await listeningBackends()) await db.pool.query('select pg_terminate_backend($1)', [pid])
    expect(await reports.next()).toMatchObject({ state: 'connecting again', attempt: 1 })
    expect(await connected.next()).toBe('connected')
    expect(await reports.next()).toEqual({ state: 'connected again' })
    await notify('control', round)
    expect(await heard.next()).toBe(`control:${round}`)
  }
})

test('a database that is away longer is waited for', async () => {
  const { heard, connected, reports } = await listen(proxy.url)
  await connected.next()
  proxy.refuse()
  proxy.cut()
  expect(await reports.next()).toMatchObject({ state: 'connecting again', attempt: 1 })
  const later = await reports.next() // one line in some seconds
  expect(later.state).toBe('connecting again')
  expect(later.attempt).toBeGreaterThan(2)
  proxy.admit()
  expect(await connected.next()).toBe('connected')
  await notify('control', 'back')
  expect(await heard.next()).toBe('control:back')
})

test('a connection on which nothing comes back any more is replaced', async () => {
  const { heard, connected } = await listen(proxy.url)
  await connected.next()
  proxy.freeze()
  expect(await connected.next()).toBe('connected')
  await notify('control', 'thawed')
  expect(await heard.next()).toBe('control:thawed')
})

test('closing says good-bye: no connection is left, and nothing is heard', async () => {
  const { listener, connected } = await listen(db.url)
  await connected.next()
  await listener.close()
  await noBackendLeft()
  await expect(listener.close()).resolves.toBeUndefined() // a second time is nothing
})

test('closing while the connection is frozen ends at once and leaves nothing', async () => {
  const { listener, connected } = await listen(proxy.url)
  await connected.next()
  expect(proxy.connections()).toBe(1)
  proxy.freeze()
  await listener.close()
  while (proxy.connections() > 0) await pause(20)
})

test('closing in the middle of reconnecting ends the attempts', async () => {
  const { listener, connected, reports } = await listen(proxy.url)
  await connected.next()
  proxy.refuse()
  proxy.cut()
  expect(await reports.next()).toMatchObject({ state: 'connecting again', attempt: 1 })
  await listener.close()
  proxy.admit()
  await noBackendLeft()
  const again = await listen(proxy.url) // were the old one still trying, it would be connected by now
  await again.connected.next()
  expect(await listeningBackends()).toHaveLength(1)
})

test('a first connection that fails is tried again like any other', async () => {
  proxy.refuse()
  const { heard, connected, reports } = await listen(proxy.url)
  expect(await reports.next()).toMatchObject({ state: 'connecting again', attempt: 1 })
  proxy.admit()
  expect(await connected.next()).toBe('connected')
  await notify('control', 'at last')
  expect(await heard.next()).toBe('control:at last')
})

test('through a transaction pooler there is no connection to listen on', async () => {
  await noBackendLeft() // of the tests before
  const connected = sequence<'connected'>()
  const listener = await createListener({
    db: { ...db, pooled: true },
    channels: { control: () => {} },
    onConnect: () => connected.push('connected'),
    report: () => {},
  })
  expect(await connected.next()).toBe('connected')
  expect(await listeningBackends()).toEqual([])
  await listener.close()
})
