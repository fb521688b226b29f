// The proxy that other tests rely on: what it cuts was committed, what it freezes arrives later, what it names is right.
import { setTimeout as pause } from 'node:timers/promises'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { openDatabase, type Database } from '../../src/store/db.ts'
import { testDatabase } from './database.ts'
import { startProxy, type Proxy } from './proxy.ts'

const direct = await testDatabase()
let proxy: Proxy
let db: Database

beforeAll(async () => {
  proxy = await startProxy(direct.url)
  db = openDatabase({ url: proxy.url, name: 'behind the proxy' })
  await direct.pool.query('create table said (n integer)')
})
afterAll(async () => {
  await db.close()
  await proxy.close()
})

const say = (client: { query: Database['pool']['query'] }, n: number) =>
  client.query({ name: 'say', text: 'insert into said values ($1)', values: [n] })
const said = async (): Promise<number[]> => {
  const { rows } = await direct.pool.query('select n from said order by n')
  return (rows as { n: number }[]).map((row) => row.n)
}

test('a reply that is cut belongs to a statement that was committed; the next ones go through', async () => {
  proxy.cutReplies({ statement: 'say', times: 1 })
  await expect(say(db.pool, 1)).rejects.toThrow(/ECONNRESET|terminated/)
  expect(proxy.repliesCut()).toBe(1)
  await say(db.pool, 2)
  expect(await said()).toEqual([1, 2])
})

test('the reply to a COMMIT can be cut: the transaction has happened, its caller cannot know', async () => {
  proxy.cutReplies({ statement: 'commit', times: 1 })
  await expect(db.transaction((client) => client.query('insert into said values (3)'))).rejects.toThrow(/ECONNRESET|terminated/)
  proxy.cutReplies(null)
  expect(await said()).toEqual([1, 2, 3])
})

test('what is under way is known by name, and by the session that the database knows', async () => {
  const client = await db.connect({ name: 'sleeper' })
  const slept = client.query({ name: 'nap', text: 'select pg_sleep(0.3)', values: [] })
  const own = () => proxy.sessions().find((session) => session.application === 'sleeper')!
  while (own().inFlight.length === 0) await pause(1)
  expect(own().inFlight).toEqual(['nap'])
  const { rows } = await direct.pool.query('select application_name from pg_stat_activity where client_port = $1', [own().port])
  expect(rows).toEqual([{ application_name: 'sleeper' }])
  await slept
  expect(own().inFlight).toEqual([])
  await client.end()
})

test('partitioned in one direction, a statement arrives and its answer comes after the thaw; messages may be long', async () => {
  const client = await db.connect({ name: 'frozen' })
  proxy.partition('to client')
  let answered = false
  const text = 'x'.repeat(300_000)
  const answer = client.query({ name: 'long', text: 'insert into said values (4) returning $1::text as t', values: [text] })
  void answer.then(() => (answered = true))
  while (!(await said()).includes(4)) await pause(5)
  expect(answered).toBe(false)
  proxy.thaw()
  expect((await answer).rows).toEqual([{ t: text }])
  await client.end()
})

test('a notification that is lost leaves the connection as it was', async () => {
  const client = await db.connect({ name: 'millrace listen' })
  const heard: string[] = []
  client.on('notification', (message) => heard.push(message.payload ?? ''))
  await client.query('listen news')
  proxy.loseNotifications(true)
  await direct.pool.query("notify news, 'lost'")
  while (proxy.notificationsLost() === 0) await pause(5)
  proxy.loseNotifications(false)
  await direct.pool.query("notify news, 'kept'")
  while (heard.length === 0) await pause(5)
  expect(heard).toEqual(['kept'])
  await client.end()
})

test('a slow network is slow, in order', async () => {
  proxy.slow({ delayMs: 5, jitterMs: 20 })
  for (let n = 10; n < 15; n++) await say(db.pool, n)
  proxy.slow(null)
  expect((await said()).slice(-5)).toEqual([10, 11, 12, 13, 14])
})
