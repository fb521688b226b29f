// Groups that a step asks for: whoever answers it is a member of one of them (docs/flows/approvals.md).
//   G1. Which groups is decided when the step begins to wait, and recorded; who is in them when an answer is sent, and stored with it.
import type { Json } from '../json.ts'

/** Contains every member of the workspace. Nobody makes it, and nobody takes it away. */
export const everyone = 'all'

export const noGroups: readonly string[] = []

const namesMax = 100
export const groupList = `a list of names of groups, as ["ops"], ${namesMax} at most`

export function isGroupList(value: unknown): value is string[] {
  return Array.isArray(value) && value.length <= namesMax && value.every((name) => typeof name === 'string')
}

/** What an expression says. Throws where that is no list of groups. */
export function groupsOf(value: Json): string[] {
  if (isGroupList(value)) return value
  const shown = JSON.stringify(value)
  throw new Error(`user_groups_required is ${shown.length > 80 ? `${shown.slice(0, 80)}…` : shown}; it must be ${groupList}`)
}

/** Is a member who is in `groups` one of those who are asked? Where no group is asked for, every member is. */
export function isAsked(asked: readonly string[], groups: readonly string[]): boolean {
  return asked.length === 0 || asked.some((name) => name === everyone || groups.includes(name))
}
