// A server of one's own over a fresh database, and a way to ask it things.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { InjectOptions } from 'fastify'
import { pino } from 'pino'
import { afterAll } from 'vitest'
import { defaultLimits, type Limits } from '../../src/core/limits.ts'
import type { Json } from '../../src/core/json.ts'
import { createServer } from '../../src/server/app.ts'
import type { App } from '../../src/server/parts.ts'
import { ensureAdmin } from '../../src/store/accounts.ts'
import type { Database } from '../../src/store/db.ts'
import { testDatabase } from '../support/database.ts'

export interface Answer {
  status: number
  body: string
  headers: Record<string, unknown>
  /** The body as JSON. */
  json: any // oxlint-disable-line typescript/no-explicit-any -- whatever the route says; the test looks
}

export interface Api {
  app: App
  db: Database
  home: string
  limits: Limits
  token: string
  /** What the server logged, line by line. */
  logged: string[]
  ask(method: 'GET' | 'POST' | 'DELETE', url: string, options?: Ask): Promise<Answer>
  get(url: string, options?: Ask): Promise<Answer>
  post(url: string, body?: Json | string, options?: Ask): Promise<Answer>
  /** Deploys a flow of these steps and gives its path. */
  deploy(path: string, modules: Json[], more?: Record<string, Json>): Promise<string>
}

export interface Ask {
  /** null: none. Absent: the admin's. */
  token?: string | null
  type?: string
  headers?: Record<string, string>
  body?: Json | string
}

/** URLs without a leading slash are below `/api/w/main/`. A body that is a text is sent as it is. */
export async function testApi(given: Partial<Limits> = {}, shared?: { db: Database; home: string }): Promise<Api> {
  const db = shared?.db ?? (await testDatabase())
  const home = shared?.home ?? mkdtempSync(join(tmpdir(), 'millrace-api-'))
  const limits = { ...defaultLimits, ...given }
  const logged: string[] = []
  const log = pino({ level: 'info' }, { write: (line: string) => void logged.push(line) })
  const { token } = await ensureAdmin(db, { token: 'admin-token-of-a-test', home })
  const app = await createServer({ db, limits, home, log, baseUrl: 'http://127.0.0.1:1' })
  await app.ready()
  afterAll(async () => {
    await app.close()
    if (!shared) rmSync(home, { recursive: true, force: true })
  })

  async function ask(method: 'GET' | 'POST' | 'DELETE', url: string, options: Ask = {}): Promise<Answer> {
    const headers: Record<string, string> = { ...options.headers }
    if (options.token !== null) headers['authorization'] ??= `Bearer ${options.token ?? token}`
    const request: InjectOptions = { method, url: url.startsWith('/') ? url : `/api/w/main/${url}`, headers }
    if (options.body !== undefined) {
      headers['content-type'] = options.type ?? 'application/json'
      request.payload = typeof options.body === 'string' ? options.body : JSON.stringify(options.body)
    }
    const answer = await app.inject(request)
    return {
      status: answer.statusCode,
      body: answer.body,
      headers: answer.headers,
      get json() {
        return JSON.parse(answer.body) as unknown
      },
    }
  }

  return {
    app,
    db,
    home,
    limits,
    token,
    logged,
    ask,
    get: (url, options) => ask('GET', url, options),
    post: (url, body, options) => ask('POST', url, body === undefined ? options : { ...options, body }),
    async deploy(path, modules, more = {}) {
      const answer = await ask('POST', 'flows/create', { body: { path, summary: path, value: { modules, ...more } } })
      if (answer.status !== 201) throw new Error(answer.body)
      return path
    },
  }
}

export const identity = (id: string): Json => ({ id, value: { type: 'identity' } })

/** A step written in TypeScript. */
export const step = (id: string, content: string, inputs: Record<string, string> = {}): Json => ({
  id,
  value: {
    type: 'rawscript',
    language: 'bun',
    content,
    input_transforms: Object.fromEntries(Object.entries(inputs).map(([name, expr]) => [name, { type: 'javascript', expr }])),
  },
})
