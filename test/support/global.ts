// Once per run, before any test file: one Postgres with a migrated template, and a build for tests that start processes.
//   T1. Only what the chosen files need is started: *.pg.test.ts and *.e2e.test.ts get Postgres, *.e2e.test.ts a build.
//       MILLRACE_TEST_BUILD=off takes dist as it is.
//   T2. DATABASE_URL names a Postgres to use; otherwise an embedded one runs in a temporary folder. Both are left clean.
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { openDatabase } from '../../src/store/db.ts'
import { openPostgres } from '../../src/store/embedded/postgres.ts'
import { migrate } from '../../src/store/migrate.ts'

export interface TestPostgres {
  url: string
  template: string
}

declare module 'vitest' {
  interface ProvidedContext {
    postgres: TestPostgres | null
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const { filenamePattern } = project.vitest as unknown as { filenamePattern?: string[] } // what the command line chose
  const { testFiles } = await project.globTestFiles(filenamePattern)
  const needBuild = testFiles.some((file) => file.endsWith('.e2e.test.ts'))
  const needPostgres = needBuild || testFiles.some((file) => file.endsWith('.pg.test.ts'))
  if (needBuild) build()
  if (!needPostgres) {
    project.provide('postgres', null)
    return () => Promise.resolve()
  }
  const { postgres, stop } = await startPostgres()
  project.provide('postgres', postgres)
  return stop
}

function build(): void {
  if (process.env['MILLRACE_TEST_BUILD'] === 'off') return
  const built = spawnSync(process.execPath, ['src/cli/setup.mjs', 'build'], { encoding: 'utf8' })
  if (built.status !== 0) throw new Error(`the build failed:\n${built.stdout}${built.stderr}`)
}

async function startPostgres(): Promise<{ postgres: TestPostgres; stop: () => Promise<void> }> {
  const home = mkdtempSync(join(tmpdir(), 'millrace-test-'))
  const report = (message: string): void => console.warn(message)
  const server = await openPostgres({ home, databaseUrl: process.env['DATABASE_URL'], report })
  const admin = openDatabase({ url: server.url, name: 'test setup', poolMax: 1 })
  const template = `millrace_template_${randomBytes(6).toString('hex')}`
  await admin.pool.query(`create database ${template}`)
  const url = new URL(server.url)
  url.pathname = `/${template}`
  const db = openDatabase({ url: url.href, name: 'test setup', poolMax: 1 })
  await migrate(db)
  await db.close()
  return {
    postgres: { url: server.url, template },
    async stop() {
      await admin.pool.query(`drop database ${template} with (force)`)
      await admin.close()
      await server.stop()
      rmSync(home, { recursive: true, force: true })
    },
  }
}
