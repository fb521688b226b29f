// Groups of a workspace's members, by name. The group `all` is there by itself.
import { EngineError } from '../core/errors.ts'
import { everyone } from '../core/flow/groups.ts'
import { listMembers } from './accounts.ts'
import { run, type Queryable } from './db.ts'

export interface GroupRow {
  name: string
  summary: string
  /** Usernames. */
  members: string[]
}

interface Named {
  workspaceId: string
  name: string
}

export async function listGroups(on: Queryable, workspaceId: string): Promise<GroupRow[]> {
  return [await groupOfAll(on, workspaceId), ...(await run<GroupRow>(on, 'group_list', [workspaceId, null]))]
}

/** @throws EngineError E_NOT_FOUND */
export async function getGroup(on: Queryable, { workspaceId, name }: Named): Promise<GroupRow> {
  if (name === everyone) return groupOfAll(on, workspaceId)
  const [group] = await run<GroupRow>(on, 'group_list', [workspaceId, name])
  if (!group) throw noGroup(name)
  return group
}

async function groupOfAll(on: Queryable, workspaceId: string): Promise<GroupRow> {
  const members = await listMembers(on, workspaceId)
  return { name: everyone, summary: 'Every member of the workspace', members: members.map(({ username }) => username).sort() }
}

/** Those that an account is in. */
export async function groupsOf(on: Queryable, workspaceId: string, email: string): Promise<string[]> {
  const rows = await run<{ name: string }>(on, 'group_names_of', [workspaceId, email])
  return [everyone, ...rows.map(({ name }) => name)]
}

/** @throws EngineError E_INVALID, E_CONFLICT */
export async function createGroup(on: Queryable, { workspaceId, name, summary }: Named & { summary: string }): Promise<void> {
  if (!/^[A-Za-z0-9_-]{1,50}$/.test(name)) {
    throw new EngineError('E_INVALID', 'the name of a group is up to 50 letters, digits, "-" and "_"', { at: '$.name' })
  }
  const [made] = name === everyone ? [] : await run(on, 'group_create', [workspaceId, name, summary])
  if (!made) throw new EngineError('E_CONFLICT', `there is a group "${name}" in workspace "${workspaceId}"`, { at: '$.name' })
}

/** @throws EngineError E_INVALID, E_NOT_FOUND */
export async function updateGroup(on: Queryable, { workspaceId, name, summary }: Named & { summary: string }): Promise<void> {
  assertNotAll(name)
  const rows = await run(on, 'group_update', [workspaceId, name, summary])
  if (rows.length === 0) throw noGroup(name)
}

/** @throws EngineError E_INVALID, E_NOT_FOUND */
export async function deleteGroup(on: Queryable, { workspaceId, name }: Named): Promise<void> {
  assertNotAll(name)
  const rows = await run(on, 'group_delete', [workspaceId, name])
  if (rows.length === 0) throw noGroup(name)
}

/** @throws EngineError E_INVALID, E_NOT_FOUND: no such group, or no such member of the workspace */
export async function addToGroup(on: Queryable, { workspaceId, name, username }: Named & { username: string }): Promise<void> {
  assertNotAll(name)
  const [group] = await run<{ email: string | null }>(on, 'group_add_member', [workspaceId, name, username])
  if (!group) throw noGroup(name)
  if (group.email !== null) return
  throw new EngineError('E_NOT_FOUND', `no member "${username}" in workspace "${workspaceId}"; add them to it first`, {
    at: '$.username',
  })
}

/** @throws EngineError E_INVALID, E_NOT_FOUND */
export async function removeFromGroup(
  on: Queryable,
  { workspaceId, name, username }: Named & { username: string },
): Promise<void> {
  assertNotAll(name)
  const rows = await run(on, 'group_remove_member', [workspaceId, name, username])
  if (rows.length > 0) return
  await getGroup(on, { workspaceId, name })
  throw new EngineError('E_NOT_FOUND', `"${username}" is not in group "${name}"`, { at: '$.username' })
}

function noGroup(name: string): EngineError {
  return new EngineError('E_NOT_FOUND', `no group "${name}"; \`GET groups/listnames\` names those there are`, { at: 'name' })
}

function assertNotAll(name: string): void {
  if (name !== everyone) return
  throw new EngineError('E_INVALID', `the group "${everyone}" is there by itself and contains every member; nobody changes it`, {
    at: 'name',
  })
}
