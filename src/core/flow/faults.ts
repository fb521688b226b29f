// Faults of one document, gathered while it is read. null counts as absent everywhere: editors write it for "not set".
import { EngineError } from '../errors.ts'
import { pathOf } from '../json.ts'

export type Fields = Record<string, unknown>

interface Bounds {
  min: number
  max: number
  whole?: boolean
  /** the value when none is given */
  preset: number
}

const faultsTold = 10

export class Faults {
  readonly #list: { at: string; message: string; allowed?: readonly string[] }[] = []

  add(at: string, message: string, allowed?: readonly string[]): void {
    this.#list.push(allowed ? { at, message, allowed } : { at, message })
  }

  /** Runs a check that throws EngineError at a fault. */
  catching(check: () => void): void {
    try {
      check()
    } catch (error) {
      if (!(error instanceof EngineError)) throw error
      const at = error.details.at ?? '$'
      this.add(
        at,
        error.message.startsWith(`${at}: `) ? error.message.slice(at.length + 2) : error.message,
        error.details.allowed,
      )
    }
  }

  error(): EngineError {
    const [first] = this.#list
    const told = this.#list.slice(0, faultsTold).map((fault) => `${fault.at}: ${fault.message}`)
    const more = this.#list.length - told.length
    if (more > 0) told.push(`and ${more} more`)
    return new EngineError('E_FLOW_INVALID', told.join('\n'), { at: first!.at, allowed: first!.allowed })
  }

  throwAny(): void {
    if (this.#list.length > 0) throw this.error()
  }

  /** `value` as an object, or a fault that says what it should be. */
  fields(value: unknown, at: string, should: string): Fields | undefined {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields
    this.add(at, `${should}, got ${kindOf(value)}`)
    return undefined
  }

  object(of: Fields, key: string, at: string): Fields | undefined {
    const value = of[key]
    return isAbsent(value) ? undefined : this.fields(value, pathOf(at, key), 'expected an object')
  }

  text(of: Fields, key: string, at: string): string | undefined {
    return this.#typed(of, key, 'string', 'text', at) as string | undefined
  }

  boolean(of: Fields, key: string, at: string): void {
    this.#typed(of, key, 'boolean', 'true or false', at)
  }

  number(of: Fields, key: string, at: string): void {
    this.#typed(of, key, 'number', 'a number', at)
  }

  #typed(of: Fields, key: string, type: 'string' | 'boolean' | 'number', words: string, at: string): unknown {
    const value = of[key]
    if (isAbsent(value)) return undefined
    if (typeof value === type) return value
    this.add(pathOf(at, key), `expected ${words}, got ${kindOf(value)}`)
    return undefined
  }

  oneOf(of: Fields, key: string, allowed: readonly string[], at: string): void {
    const value = of[key]
    if (isAbsent(value) || allowed.includes(value as string)) return
    this.add(pathOf(at, key), `${shown(value)} is not known; allowed: ${allowed.join(', ')}`, allowed)
  }

  bounded(of: Fields, key: string, { min, max, whole, preset }: Bounds, at: string): number {
    const value = of[key]
    if (isAbsent(value)) return preset
    if (typeof value === 'number' && value >= min && value <= max && (!whole || Number.isInteger(value))) return value
    this.add(pathOf(at, key), `expected ${whole ? 'a whole number' : 'a number'} from ${min} to ${max}, got ${shown(value)}`)
    return preset
  }

  /** A value that names a kind of thing: known to OpenFlow but not run here, or not known at all. */
  notRun(at: string, what: string, value: unknown, runs: readonly string[], others: readonly string[]): void {
    const list = runs.join(', ')
    if (isAbsent(value)) this.add(at, `missing; allowed: ${list}`, runs)
    else if (others.includes(value as string)) {
      this.add(at, `this version does not run the ${what} ${shown(value)}; it runs ${list}`, runs)
    } else this.add(at, `unknown ${what} ${shown(value)}; allowed: ${list}`, runs)
  }
}

function isAbsent(value: unknown): value is undefined | null {
  return value === undefined || value === null
}

function kindOf(value: unknown): string {
  if (isAbsent(value)) return value === null ? 'null' : 'nothing'
  return Array.isArray(value) ? 'an array' : typeof value === 'object' ? 'an object' : `the ${typeof value} ${shown(value)}`
}

function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}
