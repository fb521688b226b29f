import { expect, test } from 'vitest'
import { openDatabase, run } from '../../src/store/db.ts'
import { databaseWithFailpoints, listenerWithFailpoints } from '../../src/store/failpoint_database.ts'
import { createFailpoints } from '../../src/store/failpoints.ts'
import { testDatabase } from '../support/database.ts'

const plain = await testDatabase()

async function failing<T>(plan: string, work: (db: ReturnType<typeof openDatabase>) => Promise<T>): Promise<T> {
  const db = databaseWithFailpoints(
    openDatabase({ url: plain.url, name: 'failing', poolMax: 2 }),
    createFailpoints({ plan, recordFile: undefined }),
  )
  try {
    return await work(db)
  } finally {
    await db.close()
  }
}

async function known(name: string): Promise<boolean> {
  const { rows } = await plain.pool.query('select from workspace where id = $1', [name])
  return rows.length > 0
}

const create = (name: string) => [name, name]

test('a reply that is lost after the statement leaves its effect; the pool goes on', async () => {
  await failing('create_workspace:after=lost', async (db) => {
    await expect(run(db.pool, 'create_workspace', create('after'))).rejects.toThrow('reset')
    expect(await known('after')).toBe(true)
    await run(db.pool, 'create_workspace', create('goes-on'))
  })
})

test('a statement that is lost before it is sent has no effect', async () => {
  await failing('create_workspace:before=lost', async (db) => {
    await expect(run(db.pool, 'create_workspace', create('before'))).rejects.toMatchObject({ code: 'ECONNRESET' })
    expect(await known('before')).toBe(false)
  })
})

test('an error has the code that was asked for', async () => {
  await failing('create_workspace:before=error(53100)', async (db) => {
    await expect(run(db.pool, 'create_workspace', create('full'))).rejects.toMatchObject({ code: '53100' })
  })
})

test('a connection that is cut in a transaction fails the transaction, not the process', async () => {
  await failing('create_workspace:after=lost', async (db) => {
    const work = db.transaction((client) => run(client, 'create_workspace', create('cut')))
    await expect(work).rejects.toThrow('reset')
    expect(await known('cut')).toBe(false)
  })
})

test('a lost commit reply is an error although the transaction is there', async () => {
  await failing('commit:after=lost', async (db) => {
    const work = db.transaction((client) => run(client, 'create_workspace', create('commit')))
    await expect(work).rejects.toThrow('reset')
    expect(await known('commit')).toBe(true)
  })
})

test('a connection of its own has the points too', async () => {
  await failing('create_workspace:after=lost', async (db) => {
    const client = await db.connect({ name: 'own' })
    await expect(run(client, 'create_workspace', create('own'))).rejects.toThrow('reset')
    expect(await known('own')).toBe(true)
  })
})

test('a notification can be lost', async () => {
  const heard: string[] = []
  let next = () => {}
  const listen = listenerWithFailpoints(createFailpoints({ plan: 'listen.test_done:before=lost', recordFile: undefined }))
  const listener = await listen({
    db: plain,
    channels: {
      test_done_42(payload) {
        heard.push(payload)
        next()
      },
    },
    onConnect: () => {},
    report: () => {},
  })
  const second = new Promise<void>((resolve) => {
    next = resolve
  })
  await run(plain.pool, 'notify', ['test_done_42', 'first'])
  await run(plain.pool, 'notify', ['test_done_42', 'second'])
  await second
  expect(heard).toEqual(['second'])
  await listener.close()
})
