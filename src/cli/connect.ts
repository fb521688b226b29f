// How commands find each other: a running server says in <home>/server.json where it listens.
//   N1. The file names a living server, or is rewritten by the next one that looks (several may share a state folder).
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { Client } from '../client/client.ts'
import { EngineError } from '../core/errors.ts'
import { isAlive } from '../store/embedded/cluster.ts'
import { settingOf, type SettingName } from './settings.ts'

type Given = Partial<Record<SettingName, string>>

export interface ServerPlace {
  url: string
  pid: number
}

export function homeOf(options: Given): string {
  return resolve(settingOf(options, 'home', '.millrace'))
}

/** The server of this state folder, if one runs. */
export function runningServer(home: string): ServerPlace | undefined {
  try {
    const place = JSON.parse(readFileSync(join(home, 'server.json'), 'utf8')) as ServerPlace
    return isAlive(place.pid) ? place : undefined
  } catch {
    return undefined
  }
}

/** Says where this server listens, unless another living one already does. */
export function announceServer(home: string, url: string): void {
  if (runningServer(home) !== undefined) return
  mkdirSync(home, { recursive: true })
  const fresh = join(home, `server.json.${process.pid}`)
  writeFileSync(fresh, `${JSON.stringify({ url, pid: process.pid })}\n`)
  renameSync(fresh, join(home, 'server.json'))
}

export function forgetServer(home: string): void {
  if (runningServer(home)?.pid === process.pid) rmSync(join(home, 'server.json'), { force: true })
}

/** A client of the server that flags, variables or the state folder name. @throws EngineError E_SETUP */
export function connect(options: Given): Client {
  const home = homeOf(options)
  const url = settingOf(options, 'url', undefined) ?? runningServer(home)?.url
  if (url === undefined) {
    throw new EngineError(
      'E_SETUP',
      `no server runs in the state folder ${home}; start one with \`millrace up\`, or name one with --url or MILLRACE_URL`,
    )
  }
  if (!URL.canParse(url))
    throw new EngineError('E_INVALID', `${JSON.stringify(url)} is not a URL; write http://host:port`, { at: '--url' })
  const token = settingOf(options, 'token', undefined) ?? storedToken(home)
  if (token === undefined) {
    throw new EngineError(
      'E_SETUP',
      `no token: ${join(home, 'admin-token')} cannot be read; give one with --token or MILLRACE_TOKEN`,
    )
  }
  return new Client({ url, token, workspace: settingOf(options, 'workspace', 'main') })
}

function storedToken(home: string): string | undefined {
  if (process.env['MILLRACE_ADMIN_TOKEN']) return process.env['MILLRACE_ADMIN_TOKEN']
  try {
    return readFileSync(join(home, 'admin-token'), 'utf8').trim() || undefined
  } catch {
    return undefined
  }
}
