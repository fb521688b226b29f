// What a tester saw, from its files into temporary tables beside what is there: the history of the events it sent, and the list of
// what its steps executed. docs/audit.md has the formats.
//   H1. Files are read line by line: a history of millions of events costs a batch of memory.
//   H2. A line that is not what it should be is refused with its number: half a history would accuse the engine.
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import type pg from 'pg'
import { EngineError, messageOf } from '../core/errors.ts'
import { firstIdAt, isUuid } from '../core/job/ids.ts'
import { run } from './db.ts'

const batchLines = 5_000

export interface HistoryCounts {
  attempted: number
  acknowledged: number
  landed: number
  finished: number
  lost: number
  unfinished: number
  phantom: number
  recovered: number
}

export interface AuditHistory {
  has: { ops: boolean; effects: boolean }
  /** Fills the temporary tables of this connection. */
  load(client: pg.Client): Promise<void>
  /** How the history compares, in numbers; null without one. Known after the load. */
  counts: HistoryCounts | null
}

export function openHistory(files: { history?: string; effects?: string; sinceMs?: number }): AuditHistory {
  const history: AuditHistory = {
    has: { ops: files.history !== undefined, effects: files.effects !== undefined },
    counts: null,
    async load(client) {
      if (files.effects !== undefined) {
        await run(client, 'history/create_effects', [])
        await loadFile(files.effects, checkEffect, (lines) => run(client, 'history/add_effects', [`[${lines.join(',')}]`]))
      }
      if (files.history === undefined) return
      await run(client, 'history/create_ops', [])
      await loadFile(files.history, checkOp, (lines) => run(client, 'history/add_ops', [`[${lines.join(',')}]`]))
      const [counts] = await run<HistoryCounts>(client, 'history/counts', [firstIdAt(files.sinceMs ?? 0)])
      history.counts = counts!
    },
  }
  return history
}

async function loadFile(
  file: string,
  check: (line: unknown) => string | null,
  add: (lines: string[]) => Promise<unknown>,
): Promise<void> {
  let number = 0
  let batch: string[] = []
  try {
    for await (const text of createInterface({ input: createReadStream(file), crlfDelay: Infinity })) {
      number += 1
      if (text.trim() === '') continue
      const fault = faultOf(text, check)
      if (fault !== null) throw new EngineError('E_INVALID', `${file}, line ${number}: ${fault}`, { at: file })
      batch.push(text)
      if (batch.length === batchLines) {
        await add(batch)
        batch = []
      }
    }
  } catch (error) {
    if (error instanceof EngineError || (error as { severity?: string }).severity !== undefined) throw error
    throw new EngineError('E_INVALID', `${file} cannot be read: ${messageOf(error)}`, { at: file, cause: error })
  }
  if (batch.length > 0) await add(batch)
}

function faultOf(text: string, check: (line: unknown) => string | null): string | null {
  let line: unknown
  try {
    line = JSON.parse(text)
  } catch {
    return 'this is not JSON'
  }
  if (line === null || typeof line !== 'object' || Array.isArray(line)) return 'this is not a JSON object'
  return check(line)
}

function checkOp(given: unknown): string | null {
  const line = given as Record<string, unknown>
  if (typeof line['op'] !== 'string' && typeof line['op'] !== 'number') return 'op must be a text'
  if (!['ok', 'fail', 'unknown'].includes(line['kind'] as string)) return 'kind must be ok, fail or unknown'
  if (line['id'] !== undefined && line['id'] !== null && (typeof line['id'] !== 'string' || !isUuid(line['id'])))
    return 'id is no job id'
  if (!isAbsentOr(line['key'], 'string')) return 'key must be a text'
  if (!isAbsentOr(line['at'], 'number')) return 'at must be a number: ms since 1970'
  if (!isAbsentOr(line['sha256'], 'string')) return 'sha256 must be a text in hex'
  return null
}

function checkEffect(given: unknown): string | null {
  const line = given as Record<string, unknown>
  if (typeof line['job'] !== 'string' || !isUuid(line['job'])) return 'job is no job id'
  if (typeof line['step'] !== 'string') return 'step must be a text'
  if (!isAbsentOr(line['n'], 'number')) return 'n must be a number'
  if (typeof line['at'] !== 'number') return 'at must be a number: ms since 1970'
  return null
}

function isAbsentOr(value: unknown, type: string): boolean {
  return value === undefined || value === null || typeof value === type
}
