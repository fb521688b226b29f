// Accounts, their memberships of workspaces, and their tokens.
//   A1. A token is 32 random bytes as text. Only its SHA-256 is stored, so it is shown once: when it is made.
//   A2. A member has rights in one workspace; a super admin has every right in all of them.
import { createHash, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { EngineError } from '../core/errors.ts'
import type { JsonText } from '../core/json.ts'
import { run, type Database, type Queryable } from './db.ts'

export interface Rights {
  isAdmin: boolean
  operator: boolean
}

/** Who asks, and what they may do. */
export interface Identity {
  email: string
  username: string
  superAdmin: boolean
  createdAt: Date
  /** The only workspace the token is for; null: every workspace of its owner. */
  workspaceId: string | null
  /** null: everything its owner may do. */
  scopes: string[] | null
  readOnly: boolean
  /** It is the code of a job that asks, for whoever started it. */
  ofJob: boolean
  expiresAtMs: number | null
  members: Record<string, Rights>
}

interface AccountColumns {
  email: string
  username: string
  superAdmin: boolean
  createdAt: Date
  members: JsonText
}

const hashOf = (token: string): Buffer => createHash('sha256').update(token).digest()

/** Whose token this is; null if it is unknown or over. */
export async function identityOfToken(on: Queryable, token: string): Promise<Identity | null> {
  type Row = AccountColumns & { workspaceId: string | null; scopes: string[] | null; readOnly: boolean; expiresAt: Date | null }
  const [row] = await run<Row>(on, 'account_identity_by_token', [hashOf(token)])
  if (!row) return null
  const { expiresAt, members, ...rest } = row
  return { ...rest, ofJob: false, expiresAtMs: expiresAt?.getTime() ?? null, members: JSON.parse(members) as Identity['members'] }
}

/** The account behind a signed token, bound to one workspace. `name`: an email or a username. */
export async function identityOfName(
  on: Queryable,
  { name, workspaceId, expiresAtMs }: { name: string; workspaceId: string; expiresAtMs: number },
): Promise<Identity | null> {
  const [row] = await run<AccountColumns>(on, 'account_identity_by_name', [name])
  if (!row) return null
  const members = JSON.parse(row.members) as Identity['members']
  return { ...row, members, workspaceId, scopes: null, readOnly: false, ofJob: true, expiresAtMs }
}

export interface NewToken {
  label: string
  email: string
  workspaceId?: string | null
  scopes?: string[] | null
  readOnly?: boolean
  expiresAt?: Date | null
}

/** Makes a token and gives its text: the only time it can be read. */
export async function createToken(on: Queryable, options: NewToken): Promise<string> {
  const token = randomBytes(32).toString('hex')
  await insertToken(on, token, options)
  return token
}

async function insertToken(on: Queryable, token: string, o: NewToken): Promise<void> {
  const shown = token.slice(0, 10)
  const rights = [o.workspaceId ?? null, o.scopes ?? null, o.readOnly ?? false, o.expiresAt ?? null]
  await run(on, 'token_insert', [hashOf(token), shown, o.label, o.email, ...rights])
}

export interface TokenRow {
  prefix: string
  label: string
  workspaceId: string | null
  scopes: string[] | null
  readOnly: boolean
  expiresAt: Date | null
  createdAt: Date
  lastUsedAt: Date | null
}

export function listTokens(on: Queryable, email: string, { page = 1, perPage = 100 } = {}): Promise<TokenRow[]> {
  return run<TokenRow>(on, 'token_list', [email, perPage, (page - 1) * perPage])
}

/** @throws EngineError E_NOT_FOUND */
export async function deleteToken(on: Queryable, email: string, prefix: string): Promise<void> {
  const rows = await run(on, 'token_delete', [email, prefix])
  if (rows.length === 0) throw new EngineError('E_NOT_FOUND', `no token of yours begins with "${prefix}"`)
}

export interface AccountRow {
  email: string
  username: string
  superAdmin: boolean
  createdAt: Date
}

export function listAccounts(on: Queryable): Promise<AccountRow[]> {
  return run<AccountRow>(on, 'account_list', [])
}

/** @throws EngineError E_NOT_FOUND */
export async function getAccount(on: Queryable, email: string): Promise<AccountRow> {
  const [row] = await run<AccountRow>(on, 'account_get', [email])
  if (!row) throw new EngineError('E_NOT_FOUND', `no account "${email}"; create it first`, { at: '$.email' })
  return row
}

/** @throws EngineError E_INVALID, E_CONFLICT */
export async function createAccount(
  on: Queryable,
  account: { email: string; username?: string; superAdmin?: boolean },
): Promise<void> {
  const { email, superAdmin = false } = account
  const username =
    account.username ??
    email
      .split('@')[0]!
      .toLowerCase()
      .replace(/[^a-z0-9_-]/g, '-')
  if (!/^[^\s@]+@[^\s@]+$/.test(email)) throw new EngineError('E_INVALID', 'not an email address', { at: '$.email' })
  if (!/^[A-Za-z0-9_-]{1,50}$/.test(username)) {
    throw new EngineError('E_INVALID', 'a username is up to 50 letters, digits, "-" and "_"', { at: '$.username' })
  }
  const rows = await run(on, 'account_create', [email, username, superAdmin])
  if (rows.length === 0) {
    throw new EngineError('E_CONFLICT', `the email "${email}" or the username "${username}" is taken`, { at: '$.email' })
  }
}

export interface MemberRow extends AccountRow, Rights {}

export function listMembers(on: Queryable, workspaceId: string): Promise<MemberRow[]> {
  return run<MemberRow>(on, 'member_list', [workspaceId])
}

/** Adds a member, or changes their rights. The account must exist. */
export async function addMember(
  on: Queryable,
  member: { workspaceId: string; email: string; isAdmin?: boolean; operator?: boolean },
): Promise<void> {
  await run(on, 'member_add', [member.workspaceId, member.email, member.isAdmin ?? false, member.operator ?? false])
}

/** @throws EngineError E_NOT_FOUND */
export async function removeMember(
  on: Queryable,
  { workspaceId, username }: { workspaceId: string; username: string },
): Promise<void> {
  const rows = await run(on, 'member_remove', [workspaceId, username])
  if (rows.length === 0) throw new EngineError('E_NOT_FOUND', `no member "${username}" in workspace "${workspaceId}"`)
}

export interface MyWorkspace extends Rights {
  id: string
  name: string
}

export function workspacesOf(on: Queryable, who: { email: string; superAdmin: boolean }): Promise<MyWorkspace[]> {
  return run<MyWorkspace>(on, 'member_workspaces', [who.email, who.superAdmin])
}

const adminEmail = 'admin@millrace.local'

/**
 * Makes sure there is a super admin who can come in: by `token` if it is given, else by the one in `<home>/admin-token`,
 * made now if there is none (`isNew`: show it to the user, once).
 */
export async function ensureAdmin(
  db: Database,
  { token: given, home }: { token?: string; home: string },
): Promise<{ token: string; isNew: boolean; file: string | null }> {
  if (given !== undefined && given.length < 16) {
    throw new EngineError('E_SETUP', 'the admin token is shorter than 16 characters; set a longer one', {
      at: 'MILLRACE_ADMIN_TOKEN',
    })
  }
  await run(db.pool, 'account_create', [adminEmail, 'admin', true])
  const admin = { label: 'admin', email: adminEmail }
  if (given !== undefined) {
    await insertToken(db.pool, given, admin)
    return { token: given, isNew: false, file: null }
  }
  const file = join(home, 'admin-token')
  const kept = readIfThere(file)
  const token = kept ?? randomBytes(32).toString('hex')
  if (kept === null) {
    mkdirSync(home, { recursive: true })
    try {
      writeFileSync(file, `${token}\n`, { mode: 0o600, flag: 'wx' })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EEXIST') return ensureAdmin(db, { home }) // another process was first
      throw error
    }
  }
  await insertToken(db.pool, token, admin)
  return { token, isNew: kept === null, file }
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8').trim() || null
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null
    throw error
  }
}
