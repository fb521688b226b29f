// Makes artifacts of steps' code: one builder for each language, one cache in front of them.
//   B1. Equal code has an equal artifact key: the key is the hash of runtime, content and lock.
//   B2. A source that was built is not built again while it is remembered (least recently used go first).
//   B3. Of several faulty steps the first, in the order given, is the one reported.
import { createHash } from 'node:crypto'
import { EngineError } from '../core/errors.ts'
import { languages } from '../core/flow/definition.ts'
import type { BuiltStep } from '../core/flow/plan.ts'
import type { ArtifactRow } from '../store/artifacts.ts'
import { buildBash } from './bash.ts'
import { createNpmCache } from './npm.ts'
import { buildPython } from './python.ts'
import type { Schema } from './signature.ts'
import type { BuiltCode, Source } from './source.ts'
import { buildTypescript } from './typescript.ts'

export interface Made {
  artifact: ArtifactRow
  built: BuiltStep
  schema: Schema
}

export interface Builder {
  /** One for each source, in order. @throws EngineError E_CODE_INVALID, E_SETUP if the machine lacks a tool. */
  build(sources: Source[]): Promise<Made[]>
}

const rememberedBytesMax = 64 << 20
const processesMax = 4

export function createBuilder({ home }: { home: string }): Builder {
  const npm = createNpmCache({ home })
  const remembered = createMemory(rememberedBytesMax)
  const atOnce = createGate(processesMax)

  async function buildNew(sources: Source[]): Promise<(BuiltCode | EngineError)[]> {
    const outcomes = new Map<Source, BuiltCode | EngineError>()
    const python = sources.filter((source) => languages[source.language] === 'python')
    const bash = sources.filter((source) => languages[source.language] === 'bash')
    const node = sources.filter((source) => languages[source.language].startsWith('node'))
    const one = async (source: Source, build: () => Promise<BuiltCode>): Promise<void> => {
      outcomes.set(source, await outcomeOf(atOnce(build)))
    }
    await Promise.all([
      ...node.map((source) => one(source, () => buildTypescript(source, npm))),
      ...bash.map((source) => one(source, () => buildBash(source))),
      atOnce(() => buildPython(python)).then((built) => built.forEach((outcome, i) => outcomes.set(python[i]!, outcome))),
    ])
    return sources.map((source) => outcomes.get(source)!)
  }

  return {
    async build(sources) {
      const keys = sources.map((s) => sha256(JSON.stringify([s.language, s.name, s.content, s.lock])))
      const made = keys.map((key) => remembered.get(key))
      const missing = sources.flatMap((_, i) => (made[i] ? [] : [i]))
      const outcomes = await buildNew(missing.map((i) => sources[i]!))
      for (const [nth, i] of missing.entries()) {
        const outcome = outcomes[nth]!
        if (outcome instanceof EngineError) throw outcome
        const fresh = madeOf(sources[i]!, outcome)
        remembered.set(keys[i]!, fresh)
        made[i] = fresh
      }
      return made as Made[]
    },
  }
}

function madeOf(source: Source, code: BuiltCode): Made {
  const { language } = source
  const { content, lock, params, schema, wantsToken } = code
  const artifactKey = sha256(JSON.stringify([languages[language], content, lock]))
  return {
    artifact: { key: artifactKey, language, content, lock },
    built: { artifactKey, language, params, wantsToken },
    schema,
  }
}

function outcomeOf(building: Promise<BuiltCode>): Promise<BuiltCode | EngineError> {
  return building.catch((error: unknown) => {
    if (error instanceof EngineError) return error
    throw error
  })
}

/** Runs so many at once, whoever asks; the others wait in line. */
function createGate(max: number): <T>(work: () => Promise<T>) => Promise<T> {
  let busy = 0
  const waiting: (() => void)[] = []
  return async (work) => {
    if (busy === max) await new Promise<void>((go) => waiting.push(go))
    else busy += 1
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next) next()
      else busy -= 1
    }
  }
}

/** A Map that forgets what was used least recently once its artifacts outgrow the bound. */
function createMemory(bytesMax: number): { get(key: string): Made | undefined; set(key: string, made: Made): void } {
  const entries = new Map<string, Made>()
  let bytes = 0
  const sizeOf = ({ artifact }: Made): number => artifact.content.length + (artifact.lock?.length ?? 0) + 1_000
  return {
    get(key) {
      const made = entries.get(key)
      if (!made) return undefined
      entries.delete(key) // and in again, as the newest
      entries.set(key, made)
      return made
    },
    set(key, made) {
      if (entries.has(key)) return
      entries.set(key, made)
      bytes += sizeOf(made)
      for (const [oldest, old] of entries) {
        if (bytes <= bytesMax || oldest === key) break
        entries.delete(oldest)
        bytes -= sizeOf(old)
      }
    },
  }
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex')
}
