// The servers that DATABASE_URL names. libpq's form with several (postgres://a:5432,b:5433/db?target_session_attrs=read-write)
// is taken apart here, because node-postgres knows only one.
//   H1. Only a server that takes writes is of use, so that is what target_session_attrs may ask for.
import { EngineError } from '../core/errors.ts'

export interface Host {
  host: string
  port: number
  /** The URL with this server alone. */
  url: string
}

const portPreset = 5_432
const form = /^(postgres(?:ql)?:\/\/(?:[^@/?#]*@)?)([^/?#]*)([^]*)$/
const attrsAllowed = ['read-write', 'primary', 'any']

/** In the order of the URL, never none. @throws EngineError E_INVALID */
export function parseHosts(url: string): Host[] {
  const [, start, names, rest] = form.exec(url) ?? []
  if (start === undefined) {
    throw invalid('the database must be named as postgres://user:password@host:port/name')
  }
  const [path, query = ''] = rest!.split('?')
  const params = new URLSearchParams(query)
  const attrs = params.get('target_session_attrs')
  if (attrs !== null && !attrsAllowed.includes(attrs)) {
    throw invalid(`target_session_attrs=${attrs}: Millrace writes, so it must be read-write`, attrsAllowed)
  }
  const several = names!.split(',')
  if (attrs === null && several.length === 1 && params.get('host') === null) return [{ ...addressOf(names!), url }]
  params.delete('target_session_attrs') // what is left is node-postgres' business
  const tail = params.size > 0 ? `${path}?${params.toString()}` : path!
  return several.map((name) => ({ ...addressOf(name), url: `${start}${name}${tail}` }))
}

function addressOf(name: string): { host: string; port: number } {
  const [, host, port] = /^(\[[^\]]*\]|[^:]*)(?::(\d+))?$/.exec(name) ?? []
  if (host === undefined) throw invalid(`${JSON.stringify(name)} is no host:port`)
  return { host: decodeURIComponent(host.replace(/^\[(.*)\]$/, '$1')), port: port === undefined ? portPreset : Number(port) }
}

function invalid(text: string, allowed?: readonly string[]): EngineError {
  return new EngineError('E_INVALID', text, allowed ? { at: 'DATABASE_URL', allowed } : { at: 'DATABASE_URL' })
}
