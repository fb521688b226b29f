// Servers that look for a free port at the same moment.
import { expect, test } from 'vitest'
import { start, stateFolder } from './up_support.ts'

const homes = Array.from({ length: 4 }, () => stateFolder())

test('servers that start at the same instant each get a port of their own', { timeout: 60_000 }, async () => {
  const servers = homes.map((home) => start(home, ['server']))
  const urls = await Promise.all(servers.map((server) => server.says(/"url":"([^"]+)"[^\n]*server is ready/)))
  expect(new Set(urls.map((match) => match[1])).size).toBe(servers.length)
  for (const server of servers) server.child.kill('SIGTERM')
  expect(await Promise.all(servers.map((server) => server.ended))).toEqual([0, 0, 0, 0])
})
